//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/musterhq/muster/cluster"
	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

// backend opens the server for the time of the test.
func (c *cli) backend() port.Backend {
	c.t.Helper()
	return openStore(c.t, c.server.URL())
}

// own starts the program as a process of its own.
func (c *cli) own(url string, args ...string) (*exec.Cmd, *bytes.Buffer) {
	c.t.Helper()
	self, err := os.Executable()
	if err != nil {
		c.t.Fatal(err)
	}
	p := exec.Command(self, args...)
	p.Env = append(os.Environ(), asItself+"=1", envBackend+"="+url)
	said := new(bytes.Buffer)
	p.Stderr = said
	p.WaitDelay = time.Second // a ward that is left over holds on to it
	if err := p.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		_ = p.Process.Kill() // it may have ended
		_ = p.Wait()
	})
	return p, said
}

// until waits for a condition with a limit that no speed of the machine needs.
func (c *cli) until(what string, ok func() bool) {
	c.t.Helper()
	limit := time.After(2 * time.Minute)
	for !ok() {
		select {
		case <-limit:
			c.t.Fatalf("in vain: %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// stubborn is a command that takes no notice of SIGTERM, has a child that does not either, and writes down who they are.
func stubborn(dir string) []string {
	return []string{"sh", "-c", `trap "" TERM; sleep 600 & echo "$$ $! $MUSTER_TOKEN $MUSTER_FENCE" > "$0.new"; mv "$0.new" "$0"; wait`, filepath.Join(dir, "pids")}
}

func (c *cli) pids(dir string) (pids []int, token string, fence string) {
	c.t.Helper()
	var words []string
	c.until("the command runs", func() bool {
		text, err := os.ReadFile(filepath.Join(dir, "pids"))
		words = strings.Fields(string(text))
		return err == nil && len(words) == 4
	})
	for _, w := range words[:2] {
		pid, err := strconv.Atoi(w)
		if err != nil {
			c.t.Fatal(err)
		}
		pids = append(pids, pid)
		c.t.Cleanup(func() {
			if len(alive([]int{pid})) > 0 {
				_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
			}
		})
	}
	return pids, words[2], words[3]
}

// alive are those that run. One that has ended and that nobody has asked for yet does not.
func alive(pids []int) (some []int) {
	for _, pid := range pids {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil {
			continue
		}
		if _, rest, ok := strings.Cut(string(stat), ") "); ok && rest[0] != 'Z' && rest[0] != 'X' {
			some = append(some, pid)
		}
	}
	return some
}

// next leads the election, and tells when that began.
func (c *cli) next(election string) <-chan time.Time {
	began := make(chan time.Time, 1)
	b := c.backend()
	go func() {
		defer close(began)
		err := cluster.Lead(c.t.Context(), b, cluster.Candidate{Election: election, TTL: 3 * time.Second, Log: slog.New(slog.DiscardHandler)}, func(context.Context, cluster.Term) error {
			began <- time.Now()
			return nil
		})
		if err != nil {
			c.t.Error(err)
		}
	}()
	return began
}

// The command and its children are dead before anybody else leads: when the holder is stopped, killed or cut off, and also when the process
// that keeps the time is stopped.
func TestACommandIsStoppedWithItsChildrenBeforeItsTermCanEnd(t *testing.T) {
	for name, fault := range map[string]func(c *cli, holder *exec.Cmd, link *testserver.Proxy){
		"the holder is stopped": func(c *cli, holder *exec.Cmd, _ *testserver.Proxy) {
			if err := holder.Process.Signal(syscall.SIGSTOP); err != nil {
				c.t.Error(err)
			}
		},
		"the holder is killed": func(c *cli, holder *exec.Cmd, _ *testserver.Proxy) {
			if err := holder.Process.Kill(); err != nil {
				c.t.Error(err)
			}
		},
		"the network is gone": func(_ *cli, _ *exec.Cmd, link *testserver.Proxy) { link.BlackHole() },
		"the ward is stopped and the network is gone": func(c *cli, holder *exec.Cmd, link *testserver.Proxy) {
			if err := syscall.Kill(wardOf(c.t, holder.Process.Pid), syscall.SIGSTOP); err != nil {
				c.t.Error(err)
			}
			link.BlackHole()
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCLI(t)
			link := testserver.NewProxy(t, c.server.Addr())
			dir := t.TempDir()
			holder, said := c.own(strings.Replace(c.server.URL(), c.server.Addr(), link.Addr(), 1), append([]string{"lead", "nightly", "--ttl", "3s", "--"}, stubborn(dir)...)...)
			pids, token, fence := c.pids(dir)
			if token == "" || fence != "lead.nightly="+token {
				t.Errorf("token %q, fence %q", token, fence)
			}
			began := c.next("nightly")
			fault(c, holder, link)
			select {
			case <-began:
			case <-time.After(2 * time.Minute):
				t.Fatal("nobody leads")
			}
			if some := alive(pids); len(some) > 0 {
				t.Errorf("another leads, and of %v there are still %v\n%s", pids, some, said)
			}
			// What ends the holder afterwards is the end of the test: it runs for the election again.
			link.Restore()
			if err := holder.Process.Signal(syscall.SIGCONT); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Error(err)
			}
		})
	}
}

// wardOf is the process that a holder has started to keep the time.
func wardOf(t *testing.T, holder int) int {
	t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(holder) + "/task/" + strconv.Itoa(holder) + "/children")
	if err == nil && len(strings.Fields(string(text))) == 1 {
		pid, err := strconv.Atoi(strings.Fields(string(text))[0])
		if err == nil {
			return pid
		}
	}
	// Another thread of the holder has started it.
	tasks, err := filepath.Glob("/proc/" + strconv.Itoa(holder) + "/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if words := strings.Fields(string(text)); err == nil && len(words) > 0 {
			if pid, err := strconv.Atoi(words[0]); err == nil {
				return pid
			}
		}
	}
	t.Fatal("the holder has no ward")
	return 0
}

func TestTheStatusIsTheCommands(t *testing.T) {
	c := newCLI(t)
	for _, kind := range []string{"lead", "lock"} {
		for script, want := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -KILL $$": 128 + 9} {
			p, said := c.own(c.server.URL(), kind, "x", "--", "sh", "-c", script)
			if err := p.Wait(); p.ProcessState.ExitCode() != want {
				t.Errorf("%s: %s: status %d, %v, want %d\n%s", kind, script, p.ProcessState.ExitCode(), err, want, said)
			}
		}
	}
	c.refused(exitUsage, "wanted is one name", "lead", "x")
	c.refused(exitUsage, "wanted is one name", "lead", "x", "true")
	c.refused(exitUsage, "--ttl must be positive", "lock", "x", "--ttl", "0s", "--", "true")
	c.refused(exitUsage, "too short", "lock", "x", "--drain", "15s", "--", "true")
	c.refused(exitNotFound, "cannot be run", "lock", "x", "--", "/no/such/program")
}

func TestALockIsSharedByThoseWhoReadAndQueuedForByTheFair(t *testing.T) {
	c := newCLI(t)
	c.refused(exitUsage, "one of the two", "lock", "x", "--read", "--try", "--", "true")
	wait := `echo > "$0"; while [ ! -e "$0.end" ]; do sleep 0.01; done`
	dir := t.TempDir()
	start := func(id string, flags ...string) *exec.Cmd {
		args := append([]string{"lock", "x", "--id", id}, flags...)
		p, _ := c.own(c.server.URL(), append(args, "--", "sh", "-c", wait, filepath.Join(dir, id))...)
		return p
	}
	began := func(id string) bool {
		_, err := os.Stat(filepath.Join(dir, id))
		return err == nil
	}
	end := func(p *exec.Cmd, id string) {
		if err := os.WriteFile(filepath.Join(dir, id+".end"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := p.Wait(); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	r1, r2 := start("r1", "--read"), start("r2", "--read")
	c.until("both read", func() bool { return began("r1") && began("r2") })
	same(t, strconv.Itoa(strings.Count(c.ok("who", "x", "--json"), `"kind":"read"`)), "2")
	c.refused(exitConflict, "held by", "lock", "x", "--try", "--", "true")
	w := start("w", "--fair")
	c.until("the writer waits in the queue", func() bool {
		status, _, said := c.do("", "lock", "x", "--fair", "--try", "--", "true")
		return status == exitConflict && strings.Contains(said, `"w" waits for it`)
	})
	end(r1, "r1")
	if began("w") {
		t.Error("the writer began beside a reader")
	}
	end(r2, "r2")
	c.until("the writer begins", func() bool { return began("w") })
	end(w, "w")
}

func TestAnInterruptEndsTheCommandWhileItIsHeldAndThenResigns(t *testing.T) {
	c := newCLI(t)
	dir := t.TempDir()
	p, said := c.own(c.server.URL(), "lead", "nightly", "--grace", "500ms", "--", "sh", "-c", `trap "echo asked > $0.asked; exit 3" TERM; echo > $0.runs; while :; do sleep 0.01; done`, filepath.Join(dir, "x"))
	there := func(name string) bool {
		_, err := os.Stat(filepath.Join(dir, name))
		return err == nil
	}
	c.until("the command runs", func() bool { return there("x.runs") })
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); p.ProcessState.ExitCode() != 3 || !there("x.asked") {
		t.Errorf("status %d, %v, was asked %v\n%s", p.ProcessState.ExitCode(), err, there("x.asked"), said)
	}
	c.refused(exitNotFound, "no leader", "leader", "nightly")
}

func TestWhoIsThereAndWhoHoldsWhatIsTold(t *testing.T) {
	c := newCLI(t)
	same(t, c.ok("members"), "ID INCARNATION SINCE META")
	c.refused(exitNotFound, "nobody holds", "who", "x")
	c.refused(exitUsage, "character", "who", "a b")
	c.refused(exitUsage, "character", "leader", "a b")
	b := c.backend()
	ctx, leave := context.WithCancel(t.Context())
	log := slog.New(slog.DiscardHandler)
	left := make(chan error, 1)
	go func() {
		left <- cluster.Join(ctx, b, cluster.Member{ID: "a", Meta: map[string]string{"zone": "eu", "addr": ":1"}, Log: log})
	}()
	c.until("it has joined", func() bool { return strings.Contains(c.ok("members"), "a ") })
	if out := c.ok("members"); !strings.Contains(out, "addr=:1 zone=eu") {
		t.Errorf("members:\n%s", out)
	}
	if m := values[memberLine](t, c.ok("members", "--json")); len(m) != 1 || m[0].ID != "a" || m[0].TTL != 15 || m[0].Meta["zone"] != "eu" || m[0].Since == nil {
		t.Errorf("members: %+v", m)
	}
	members := c.watch("members", "--watch", "--json")
	leaders := c.watch("leader", "x", "--watch")
	c.until("the watchers have begun", func() bool { return strings.Contains(members(), "joined") && strings.Contains(leaders(), "-") })
	err := cluster.Lead(t.Context(), b, cluster.Candidate{Election: "x", ID: "a", Log: log}, func(context.Context, cluster.Term) error {
		if l := values[termLine](t, c.ok("leader", "x", "--json")); len(l) != 1 || l[0].Holder != "a" || l[0].Token == 0 || l[0].Until == nil {
			t.Errorf("leader: %+v", l)
		}
		if out := c.ok("leader", "x"); !strings.Contains(out, "leader  a\n") {
			t.Errorf("leader:\n%s", out)
		}
		return cluster.Semaphore(t.Context(), b, cluster.Hold{Name: "x", ID: "b", Slots: 1}, func(context.Context, cluster.Term) error {
			if w := values[termLine](t, c.ok("who", "x", "--json")); len(w) != 2 || w[0].Kind != "lead" || w[1].Kind != "slot" || *w[1].Slot != 0 || w[1].Holder != "b" {
				t.Errorf("who: %+v", w)
			}
			if out := c.ok("who", "x"); strings.Count(out, "\n") != 3 {
				t.Errorf("who:\n%s", out)
			}
			return cluster.Lock(t.Context(), b, cluster.Hold{Name: "x", ID: "c"}, func(context.Context, cluster.Term) error {
				c.refused(exitConflict, `held by "c"`, "lock", "x", "--try", "--", "true")
				return nil
			})
		})
	})
	if err != nil {
		t.Error(err)
	}
	leave()
	if err := <-left; err != nil {
		t.Error(err)
	}
	c.until("the watchers are told", func() bool {
		return strings.Contains(members(), `"change":"left","id":"a"`) && strings.Count(leaders(), "\n") == 3
	})
}

// watch runs a command beside the test, and returns what it has printed so far.
func (c *cli) watch(args ...string) func() string {
	out := &shared{}
	ctx, stop := context.WithCancel(context.WithoutCancel(c.t.Context()))
	ended := make(chan int)
	go func() { ended <- run(ctx, args, strings.NewReader(""), out, out) }()
	c.t.Cleanup(func() {
		stop()
		if status := <-ended; status != exitOK {
			c.t.Errorf("muster %s: status %d: %s", strings.Join(args, " "), status, out)
		}
	})
	return out.String
}

// shared is a buffer for several goroutines.
type shared struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *shared) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
