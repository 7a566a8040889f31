//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// process is a muster work of its own.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	out   *lockedBuffer
	errs  *lockedBuffer
	ended chan struct{}
}

// worker starts muster work as a process that the test ends at the latest.
func (c *cli) worker(args ...string) *process {
	c.t.Helper()
	p := &process{t: c.t, cmd: exec.Command(os.Args[0], append([]string{"work"}, args...)...), out: &lockedBuffer{}, errs: &lockedBuffer{}, ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), asItself+"=1")
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.errs
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.WaitDelay = time.Second // who is left holds on to the output
	if err := p.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in its state
		close(p.ended)
	}()
	c.t.Cleanup(func() {
		p.signal(syscall.SIGKILL)
		<-p.ended
		if c.t.Failed() {
			c.t.Logf("muster work %s:\n%s%s", strings.Join(args, " "), p.out, p.errs)
		}
	})
	return p
}

func (p *process) signal(s syscall.Signal) {
	if err := p.cmd.Process.Signal(s); err != nil && !strings.Contains(err.Error(), "finished") {
		p.t.Errorf("signal %v: %v", s, err)
	}
}

// status waits for its end.
func (p *process) status() int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(time.Minute):
		p.t.Fatal("it does not end")
	}
	return p.cmd.ProcessState.ExitCode()
}

// interrupted ends it as an operator does.
func (p *process) interrupted() {
	p.t.Helper()
	p.signal(syscall.SIGINT)
	if status := p.status(); status != exitOK {
		p.t.Errorf("status %d: %s", status, p.errs)
	}
}

// until waits for something to happen.
func until(t *testing.T, what string, happened func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	tooLong := time.After(time.Minute)
	for !happened() {
		select {
		case <-tooLong:
			t.Fatalf("in vain waited for: %s", what)
		case <-tick.C:
		}
	}
}

// finished waits until a group has nothing left.
func (c *cli) finished(topic, group string) groupLine {
	c.t.Helper()
	var g groupLine
	until(c.t, "the end of all work", func() bool {
		status, out, _ := c.do("", "groups", topic, "--json")
		if status != exitOK || out == "" {
			return false
		}
		g = values[groupLine](c.t, out)[0]
		return g.Group == group && g.Lag+g.Loaned+g.Delayed == 0
	})
	return g
}

func read(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(b)
}

func TestACommandGetsTheBodyAndTheEnvelope(t *testing.T) {
	c := newCLI(t)
	dir := t.TempDir()
	t.Setenv("MUSTER_CAUSE_ID", "of another message")
	c.okWith("\x00\xffraw\n", "publish", "orders", "--id", "one", "--key", "ann", "--tenant", "acme", "--header", "a=b")
	p := c.worker("orders", "--group", "billing", "--", "sh", "-c", `cat > "$0/body"; env > "$0/env.tmp"; mv "$0/env.tmp" "$0/env"; echo said; echo heard >&2`, dir)
	c.finished("orders", "billing")
	p.interrupted()
	if got := read(filepath.Join(dir, "body")); got != "\x00\xffraw\n" {
		t.Errorf("the body is %q", got)
	}
	env := "\n" + read(filepath.Join(dir, "env"))
	for _, want := range []string{
		"MUSTER_ID=one", "MUSTER_TYPE=orders", "MUSTER_CORR_ID=one", "MUSTER_CAUSE_ID=", "MUSTER_TENANT=acme", "MUSTER_KEY=ann", `MUSTER_HEADERS={"a":"b"}`,
		"MUSTER_TOPIC=orders", "MUSTER_GROUP=billing", "MUSTER_ATTEMPT=0", "MUSTER_CRASHES=0", "MUSTER_CONTENT_TYPE=application/octet-stream",
	} {
		if !strings.Contains(env, "\n"+want+"\n") {
			t.Errorf("%s is not in the environment:%s", want, env)
		}
	}
	for _, name := range []string{"MUSTER_TIME", "MUSTER_IDEMPOTENCY_KEY", "MUSTER_WORKER"} {
		if !strings.Contains(env, "\n"+name+"=") || strings.Contains(env, "\n"+name+"=\n") {
			t.Errorf("%s is empty or not there:%s", name, env)
		}
	}
	if p.out.String() != "said\n" || !strings.Contains(p.errs.String(), "\nheard\n") {
		t.Errorf("it hands on %q and %q", p.out, p.errs)
	}
}

func TestTheStatusOfTheCommandIsTheVerdict(t *testing.T) {
	c := newCLI(t)
	dir := t.TempDir()
	c.okWith("0\n65\n75\n1\n9\nflaky\n", "publish", "orders", "--lines", "--id", "m")
	p := c.worker("orders", "--group", "billing", "--workers", "3", "--tries", "2", "--log-level", "error", "--", "sh", "-c", `
		read -r how
		echo "$MUSTER_ATTEMPT" >> "$0/$how"
		echo "first line of $how" >&2
		echo "last line of $how" >&2
		case $how in
		9) kill -9 $$ ;;
		flaky) [ "$MUSTER_ATTEMPT" = 1 ] ;;
		*) exit "$how" ;;
		esac`, dir)
	g := c.finished("orders", "billing")
	p.interrupted()
	if g.Dead != 4 {
		t.Errorf("%d dead letters", g.Dead)
	}
	for how, want := range map[string]string{"0": "0\n", "65": "0\n", "75": "0\n1\n", "1": "0\n1\n", "9": "0\n1\n", "flaky": "0\n1\n"} {
		if got := read(filepath.Join(dir, how)); got != want {
			t.Errorf("%s was tried %q, want %q", how, got, want)
		}
	}
	for _, d := range values[deadLine](t, c.ok("dead", "list", "orders", "billing", "--json")) {
		n := map[string]string{"m-2": "65", "m-3": "75", "m-4": "1", "m-5": "9"}[d.ID]
		begins := "exit status " + n + ": "
		if n == "9" {
			begins = "signal: killed: "
		}
		if d.Reason != begins+"first line of "+n+"\nlast line of "+n {
			t.Errorf("the reason of %s is %q", d.ID, d.Reason)
		}
	}
}

func TestWhatACommandPrintsIsEmittedWithTheAcknowledgement(t *testing.T) {
	c := newCLI(t)
	c.okWith("json\ntext\nnothing\nline\nfails\n", "publish", "orders", "--lines", "--id", "m", "--key", "k", "--tenant", "acme")
	p := c.worker("orders", "--group", "billing", "--emit", "orders.out", "--tries", "2", "--", "sh", "-c", `
		read -r how
		case $how in
		json) echo '{"a":1}' ;;
		text) printf 'two\nlines\n\n' ;;
		nothing) ;;
		line) echo ;;
		fails) echo part; exit 1 ;;
		esac`)
	c.finished("orders", "billing")
	p.interrupted()
	got := c.tail("orders.out")
	if len(got) != 2 || string(got[0].Payload) != `{"a":1}` || got[1].PayloadBase64 == nil || got[1].text() != "two\nlines" {
		t.Fatalf("emitted are %+v", got)
	}
	for i, m := range got {
		cause := fmt.Sprintf("m-%d", i+1)
		if m.CauseID != cause || m.CorrID != cause || m.TenantID != "acme" || m.Key != "k" || m.Type != "orders.out" {
			t.Errorf("emitted is %+v", m)
		}
	}
	if p.out.String() != "" {
		t.Errorf("it prints %q too", p.out)
	}
}

func TestACommandThatCannotBeStartedStopsTheWorkerAndCountsNothing(t *testing.T) {
	c := newCLI(t)
	c.ok("publish", "orders", "1")
	c.refused(exitNotFound, "name a program that can", "work", "orders", "--group", "billing", "--", "no-such-program")
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/no/such/interpreter\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	p := c.worker("orders", "--group", "billing", "--", script)
	if status := p.status(); status != exitNotFound || !strings.Contains(p.errs.String(), "cannot be started, the worker ends") {
		t.Errorf("status %d: %s", status, p.errs)
	}
	dir := t.TempDir()
	p = c.worker("orders", "--group", "billing", "--", "sh", "-c", `echo "$MUSTER_ATTEMPT" > "$0/attempt"`, dir)
	c.finished("orders", "billing")
	p.interrupted()
	if got := read(filepath.Join(dir, "attempt")); got != "0\n" {
		t.Errorf("the attempt is %q", got)
	}
}

func TestWhatNoVariableCanHoldIsADeadLetterAndNoEndOfTheWorker(t *testing.T) {
	c := newCLI(t)
	c.ok("publish", "orders", "1", "--key", "zero\x00byte", "--id", "zero")
	c.ok("publish", "orders", "2", "--header", "a="+strings.Repeat("x", 40<<10), "--header", "b="+strings.Repeat("x", 40<<10), "--id", "long")
	c.ok("publish", "orders", "3")
	p := c.worker("orders", "--group", "billing", "--", "cat")
	g := c.finished("orders", "billing")
	p.interrupted()
	if g.Dead != 2 || p.out.String() != "3\n" && p.out.String() != "3" {
		t.Errorf("%d dead letters, it prints %q", g.Dead, p.out)
	}
	for id, want := range map[string]string{"zero": "MUSTER_KEY would hold a zero byte", "long": "MUSTER_HEADERS would have"} {
		if out := c.ok("dead", "show", "orders", "billing", id); !strings.Contains(out, want) {
			t.Errorf("%s: %s", id, out)
		}
	}
}

func TestAnInterruptLetsRunningCommandsFinish(t *testing.T) {
	c := newCLI(t)
	dir := t.TempDir()
	c.okWith("1\n2\n3\n", "publish", "orders", "--lines")
	p := c.worker("orders", "--group", "billing", "--grace", "60s", "--", "sh", "-c", `
		echo begun >> "$0/log"
		while [ ! -e "$0/go" ]; do sleep 0.01; done
		echo done >> "$0/log"`, dir)
	until(t, "the first command", func() bool { return read(filepath.Join(dir, "log")) == "begun\n" })
	p.signal(syscall.SIGTERM)
	until(t, "what was not begun to be handed back", func() bool {
		g := values[groupLine](t, c.ok("groups", "orders", "--json"))[0]
		return g.Loaned == 1 && g.Lag == 2
	})
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if status := p.status(); status != exitOK {
		t.Errorf("status %d", status)
	}
	if got := read(filepath.Join(dir, "log")); got != "begun\ndone\n" {
		t.Errorf("it ran %q", got)
	}
	if g := values[groupLine](t, c.ok("groups", "orders", "--json"))[0]; g.Lag != 2 || g.Loaned != 0 || g.Dead != 0 {
		t.Errorf("left is %+v", g)
	}
	if !strings.Contains(p.errs.String(), "msg=ended") || !strings.Contains(p.errs.String(), "acked=1") {
		t.Errorf("it logs\n%s", p.errs)
	}
}

func TestAfterTheGraceACommandIsEndedAndItsMessageHandedBack(t *testing.T) {
	c := newCLI(t)
	dir := t.TempDir()
	c.ok("publish", "orders", "1")
	p := c.worker("orders", "--group", "billing", "--grace", "200ms", "--tries", "1", "--", "sh", "-c", `
		trap 'echo asked >> "$0/log"' TERM
		echo begun >> "$0/log"
		while :; do sleep 0.01; done`, dir)
	until(t, "the command", func() bool { return read(filepath.Join(dir, "log")) == "begun\n" })
	p.interrupted()
	if got := read(filepath.Join(dir, "log")); got != "begun\nasked\n" {
		t.Errorf("it was %q", got)
	}
	if g := values[groupLine](t, c.ok("groups", "orders", "--json"))[0]; g.Lag != 1 || g.Loaned != 0 || g.Dead != 0 {
		t.Errorf("left is %+v", g)
	}
}

func TestACommandThatTakesTooLongHasFailed(t *testing.T) {
	c := newCLI(t)
	c.ok("publish", "orders", "1", "--id", "slow")
	p := c.worker("orders", "--group", "billing", "--timeout", "100ms", "--tries", "1", "--", "sleep", "1000")
	g := c.finished("orders", "billing")
	p.interrupted()
	if out := c.ok("dead", "show", "orders", "billing", "slow"); g.Dead != 1 || !strings.Contains(out, "took longer than the --timeout: signal: terminated") {
		t.Errorf("%d dead letters\n%s", g.Dead, out)
	}
}

func TestANewGroupMayStartAtTheEnd(t *testing.T) {
	c := newCLI(t)
	c.ok("publish", "orders", `"old"`)
	p := c.worker("orders", "--group", "billing", "--from", "latest", "--", "cat")
	until(t, "the group", func() bool { return strings.Contains(c.ok("groups", "orders"), "billing") })
	c.ok("publish", "orders", `"new"`)
	until(t, "the new message", func() bool { return strings.Contains(p.out.String(), "new") })
	c.finished("orders", "billing")
	p.interrupted()
	if strings.Contains(p.out.String(), "old") {
		t.Errorf("it prints %q", p.out)
	}
}

func TestLogsAreJSONWhereAskedFor(t *testing.T) {
	c := newCLI(t)
	c.ok("publish", "orders", "1", "--id", "one")
	p := c.worker("orders", "--group", "billing", "--json", "--log-level", "debug", "--", "true")
	c.finished("orders", "billing")
	p.interrupted()
	found := false
	for line := range strings.Lines(p.errs.String()) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		found = found || entry["level"] == "DEBUG" && entry["id"] == "one" && entry["how"] == "exit status 0"
	}
	if !found {
		t.Errorf("it logs\n%s", p.errs)
	}
}

func TestWorkThatCannotBeDoneIsRefused(t *testing.T) {
	c := newCLI(t)
	c.ok("publish", "orders", "1")
	for says, args := range map[string][]string{
		"then -- and a command":     {"orders", "--group", "billing"},
		"--group is required":       {"orders", "--", "cat"},
		"has no dots":               {"orders", "--group", "a.b", "--", "cat"},
		"character":                 {"or ders", "--group", "billing", "--", "cat"},
		"--workers 0":               {"orders", "--group", "billing", "--workers", "0", "--", "cat"},
		"--loan 10ms":               {"orders", "--group", "billing", "--loan", "10ms", "--", "cat"},
		"--grace -1s":               {"orders", "--group", "billing", "--grace", "-1s", "--", "cat"},
		"--timeout -1s":             {"orders", "--group", "billing", "--timeout", "-1s", "--", "cat"},
		"--tries 0":                 {"orders", "--group", "billing", "--tries", "0", "--", "cat"},
		"neither earliest nor":      {"orders", "--group", "billing", "--from", "x", "--", "cat"},
		`name it \"orders.paid\"`:   {"orders", "--group", "billing", "--emit", "paid", "--", "cat"},
		"character \"!\"":           {"orders", "--group", "billing", "--emit", "a!", "--", "cat"},
		"invalid argument \"loud\"": {"orders", "--group", "billing", "--log-level", "loud", "--", "cat"},
	} {
		says = strings.ReplaceAll(says, `\"`, `"`)
		c.refused(exitUsage, says, append([]string{"work"}, args...)...)
	}
	if out := c.ok("groups", "orders"); strings.Contains(out, "billing") {
		t.Errorf("a group was made\n%s", out)
	}
}

func TestLinesOfSeveralCommandsDoNotMix(t *testing.T) {
	var out bytes.Buffer
	a, b := &lineWriter{out: &out}, &lineWriter{out: &out}
	long := strings.Repeat("x", maxLine+1)
	for _, w := range []struct {
		to   *lineWriter
		text string
	}{{a, "on"}, {b, "two\nth"}, {a, "e\n"}, {b, "ree"}, {a, long}, {a, "\n"}} {
		if n, err := w.to.Write([]byte(w.text)); err != nil || n != len(w.text) {
			t.Fatal(n, err)
		}
	}
	for _, w := range []*lineWriter{a, b} {
		if err := w.finish(); err != nil {
			t.Fatal(err)
		}
	}
	if got := out.String(); got != "two\none\n"+long+"\nthree\n" {
		t.Errorf("it prints %q", strings.ReplaceAll(got, long, "LONG"))
	}
}

func TestTheLastWordsOfACommandAreWholeLines(t *testing.T) {
	l := &lastLines{}
	for i := range 1000 {
		if _, err := fmt.Fprintf(l, "line %d\n", i); err != nil {
			t.Fatal(err)
		}
	}
	got := l.String()
	if len(got) > maxWords || len(got) < maxWords/2 || !strings.HasPrefix(got, "line ") || !strings.HasSuffix(got, "\nline 999") {
		t.Errorf("%d bytes: %q", len(got), got)
	}
	l = &lastLines{}
	if _, err := l.Write([]byte(strings.Repeat("x", 5*maxWords))); err != nil {
		t.Fatal(err)
	}
	if got := l.String(); got != strings.Repeat("x", maxWords) {
		t.Errorf("%d bytes", len(got))
	}
}

func TestTheGuardKillsTheGroupsThatAreLeft(t *testing.T) {
	start := func() (*exec.Cmd, chan struct{}) {
		cmd := exec.Command("sleep", "1000")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		gone := make(chan struct{})
		go func() {
			_ = cmd.Wait() // it is killed
			close(gone)
		}()
		return cmd, gone
	}
	left, leftGone := start()
	done, doneGone := start()
	err := keepGuard(strings.NewReader(fmt.Sprintf("+%d\n+%d\n\n+1\nnonsense\n-%[2]d\n", left.Process.Pid, done.Process.Pid)))
	if err == nil || strings.Count(err.Error(), "no process group") != 3 {
		t.Errorf("got %v", err)
	}
	<-leftGone
	select {
	case <-doneGone:
		t.Error("it killed a group that had ended")
	default:
	}
	if err := done.Process.Kill(); err != nil {
		t.Error(err)
	}
	<-doneGone
}
