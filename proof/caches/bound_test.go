//go:build unix

package caches_test

import (
	"bufio"
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/musterhq/muster/internal/testserver"
)

const bound = time.Second

// storm breaks links, processes and the server at random for a time, and counts what it did.
func storm(t *testing.T, server *testserver.Server, list []*node, lasts time.Duration) map[string]int {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 2))
	some := func(low, high int) time.Duration { return time.Duration(low+rnd.IntN(high-low)) * time.Millisecond }
	did := map[string]int{}
	for ends := time.Now().Add(lasts); time.Now().Before(ends); {
		n := list[rnd.IntN(len(list))]
		what := []string{"reset", "cut", "black hole", "black hole down", "black hole", "slow", "kill", "stop", "server"}[rnd.IntN(9)]
		if what == "server" && rnd.IntN(3) > 0 {
			continue
		}
		did[what]++
		switch what {
		case "reset":
			n.proxy.Reset()
		case "cut":
			n.proxy.Cut()
			lasting(t, some(50, 2500))
		case "black hole":
			n.proxy.BlackHole()
			lasting(t, some(200, 3500))
		case "black hole down":
			n.proxy.BlackHoleDown()
			lasting(t, some(200, 2500))
		case "slow":
			n.proxy.Slow(some(20, 600))
			lasting(t, some(500, 2500))
		case "kill":
			n.kill()
			n.start()
			n.await("ready")
		case "stop":
			n.signal(syscall.SIGSTOP)
			lasting(t, some(200, 2500))
			n.signal(syscall.SIGCONT)
		case "server":
			server.Kill()
			lasting(t, some(0, 500))
			server.Restart()
		}
		n.proxy.Restore()
		lasting(t, some(0, 400))
	}
	return did
}

// report is what the checker found.
type report struct {
	writes, reads, misses    int
	behind                   int           // reads of a value that had been overwritten when they began
	worst                    time.Duration // for how long at most
	audited, auditBehind     int
	auditWorst               time.Duration
	gaps                     int
	wrong                    []string
	older100, older500, over int // reads older than 100 ms, 500 ms, the bound
}

type written struct {
	value int64
	at    int64
}

// check reads all histories and looks at every read: a value is too old when a larger one of the key was acknowledged more than
// the bound before the read began.
func check(t *testing.T, dir string) report {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "history-*"))
	if err != nil {
		t.Fatal(err)
	}
	var r report
	acked := map[string][]written{}
	each := func(use func(file string, f []string)) {
		for _, name := range files {
			file, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(file)
			for lines.Scan() {
				if f := strings.Fields(lines.Text()); len(f) > 0 && f[len(f)-1] == "." { // not what a kill has cut off
					use(filepath.Base(name), f)
				}
			}
			if err := lines.Err(); err != nil {
				t.Fatal(err)
			}
			if err := file.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	number := func(s string) int64 {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	each(func(_ string, f []string) {
		if f[0] == "w" {
			r.writes++
			acked[f[1]] = append(acked[f[1]], written{number(f[2]), number(f[3])})
		}
	})
	for _, list := range acked { // by value; at becomes the time from which a smaller value is overwritten
		slices.SortFunc(list, func(a, b written) int { return cmp.Compare(a.value, b.value) })
		for i := len(list) - 2; i >= 0; i-- {
			list[i].at = min(list[i].at, list[i+1].at)
		}
	}
	misses := map[string]int{}
	each(func(file string, f []string) {
		switch f[0] {
		case "r":
			r.read(file, f[1], number(f[2]), number(f[3]), acked[f[1]])
		case "s":
			misses[file] = int(number(f[2]))
			r.audited = max(r.audited, int(number(f[3])))
			r.auditBehind = max(r.auditBehind, int(number(f[4])))
			r.auditWorst = max(r.auditWorst, time.Duration(number(f[5])))
			r.gaps = max(r.gaps, int(number(f[6])))
		}
	})
	for _, n := range misses {
		r.misses += n
	}
	return r
}

func (r *report) read(file, key string, value, began int64, acked []written) {
	r.reads++
	i, _ := slices.BinarySearchFunc(acked, value+1, func(w written, v int64) int { return cmp.Compare(w.value, v) })
	if i == len(acked) || acked[i].at >= began {
		return
	}
	late := time.Duration(began - acked[i].at)
	r.behind++
	r.worst = max(r.worst, late)
	if late > bound/10 {
		r.older100++
	}
	if late > bound/2 {
		r.older500++
	}
	if late > bound {
		r.over++
		if len(r.wrong) < 20 {
			r.wrong = append(r.wrong, fmt.Sprintf("%s: value %d of key %s, overwritten %v before", file, value, key, late))
		}
	}
}

func (r *report) String() string {
	return fmt.Sprintf("%d writes, %d reads, %d of them asked the store; %d of a value overwritten before, %d for over 100 ms, %d for over 500 ms, %d for over the bound; the worst %v; a node's audit compared up to %d hits, %d behind, the worst %v",
		r.writes, r.reads, r.misses, r.behind, r.older100, r.older500, r.over, r.worst, r.audited, r.auditBehind, r.auditWorst)
}

func TestNoReadOfFiveProcessesIsOlderThanTheBound(t *testing.T) {
	server := testserver.Redis(t, testserver.RedisConfig{})
	dir := t.TempDir()
	list := fleet(t, server, dir, job{Bound: bound, Keys: 1000, Patient: time.Second})
	did := storm(t, server, list, scale(15*time.Second, 5*time.Minute))
	for _, n := range list {
		n.stop()
	}
	r := check(t, dir)
	t.Logf("faults: %v", did)
	t.Log(r.String())
	for _, w := range r.wrong {
		t.Error(w)
	}
	if r.writes < 100 || r.reads < 1000 || r.misses*10 > r.reads*9 {
		t.Error("the run shows nothing: too few writes, reads, or answers from memory")
	}
}

func TestTheCheckerFindsACacheWhoseBoundIsLonger(t *testing.T) {
	server := testserver.Redis(t, testserver.RedisConfig{})
	dir := t.TempDir()
	list := fleet(t, server, dir, job{Bound: time.Minute, Keys: 4 * all, Patient: 20 * time.Millisecond}) // so that readers do not wait for a store that does not answer
	lasting(t, time.Second)
	list[0].proxy.BlackHole()
	lasting(t, 4*time.Second)
	for _, n := range list {
		n.kill()
	}
	if r := check(t, dir); r.over == 0 {
		t.Errorf("the checker found nothing: %v", r.String())
	}
}

func TestAThousandMissesInEachOfFiveProcesses(t *testing.T) {
	for _, one := range []bool{true, false} {
		most := nodes
		if one {
			most = 1
		}
		t.Run(fmt.Sprintf("are at most %d loads with OneLoader %v", most, one), func(t *testing.T) {
			server := testserver.Redis(t, testserver.RedisConfig{})
			list := fleet(t, server, t.TempDir(), job{Load: true, One: one, Bound: bound})
			for _, n := range list {
				if _, err := fmt.Fprintln(n.in, "go"); err != nil {
					t.Fatal(err)
				}
			}
			for _, n := range list {
				n.await("done")
			}
			got := observe(t, server)
			t.Logf("%d loads", got)
			if got < 1 || got > most {
				t.Errorf("%d loads, want 1 to %d", got, most)
			}
			for _, n := range list {
				n.stop()
			}
		})
	}
}
