package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// running reports whether there is a process that has not ended. One that nobody reaps has ended too: proc(5).
func running(pid int) bool {
	stat := read(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, _ := strings.Cut(stat[strings.LastIndexByte(stat, ')')+1:], " ")
	return stat != "" && state[0] != 'Z' && state[0] != 'X'
}

// pids waits for the files in which a command says the numbers of its processes.
func pids(t *testing.T, dir string, names ...string) map[string]int {
	t.Helper()
	all := make(map[string]int)
	for _, name := range names {
		until(t, "the process "+name, func() bool {
			pid, err := strconv.Atoi(strings.TrimSpace(read(filepath.Join(dir, name))))
			all[name] = pid
			return err == nil && running(pid)
		})
	}
	return all
}

// guardOf is the number of a worker's guard.
func guardOf(t *testing.T, p *process) int {
	t.Helper()
	found := 0
	until(t, "the guard", func() bool {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", p.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range tasks {
			for field := range strings.FieldsSeq(read(task)) {
				if strings.Contains(read("/proc/"+field+"/cmdline"), guardName) {
					found, err = strconv.Atoi(field)
				}
			}
		}
		return found != 0 && err == nil
	})
	return found
}

func kill(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// tree is a command with a child and a grandchild that heed no signal but SIGKILL.
const tree = `
	trap '' TERM HUP INT
	sh -c 'trap "" TERM HUP INT; sleep 1000 & echo $! > "$0/grandchild.tmp"; mv "$0/grandchild.tmp" "$0/grandchild"; wait' "$0" &
	echo $! > "$0/child"
	echo $$ > "$0/command"
	wait`

func TestAKilledWorkerTakesTheTreeOfItsCommandsWithIt(t *testing.T) {
	c := newCLI(t)
	c.ok("publish", "orders", "1")
	dir := t.TempDir()
	p := c.worker("orders", "--group", "billing", "--log-level", "debug", "--", "sh", "-c", tree, dir)
	all := pids(t, dir, "command", "child", "grandchild")
	all["guard"] = guardOf(t, p)
	until(t, "the guard has heard of the command", func() bool { return strings.Contains(p.errs.String(), "the command runs") })
	kill(t, p.cmd.Process.Pid)
	for name, pid := range all {
		until(t, "the end of the "+name, func() bool { return !running(pid) })
	}
}

func TestACommandDiesWithAWorkerThatHasNoGuardAnyMore(t *testing.T) {
	c := newCLI(t)
	c.ok("publish", "orders", "1")
	dir := t.TempDir()
	p := c.worker("orders", "--group", "billing", "--", "sh", "-c", tree, dir)
	all := pids(t, dir, "command", "child", "grandchild")
	t.Cleanup(func() { _ = syscall.Kill(-all["command"], syscall.SIGKILL) }) // this is what is not covered
	guard := guardOf(t, p)
	p.signal(syscall.SIGSTOP) // both at the same moment
	kill(t, guard)
	kill(t, p.cmd.Process.Pid)
	until(t, "the end of the command", func() bool { return !running(all["command"]) })
}

func TestAWorkerWithoutItsGuardRunsNothingMore(t *testing.T) {
	c := newCLI(t)
	c.ok("publish", "orders", "1")
	dir := t.TempDir()
	p := c.worker("orders", "--group", "billing", "--grace", "0s", "--", "sh", "-c", tree, dir)
	all := pids(t, dir, "command", "child", "grandchild")
	kill(t, guardOf(t, p))
	if status := p.status(); status != exitError || !strings.Contains(p.errs.String(), "nothing is run without it; start the worker again") {
		t.Errorf("status %d: %s", status, p.errs)
	}
	for name, pid := range all {
		if running(pid) {
			t.Errorf("the %s still runs", name)
		}
	}
	if g := values[groupLine](t, c.ok("groups", "orders", "--json"))[0]; g.Lag != 1 || g.Dead != 0 {
		t.Errorf("left is %+v", g)
	}
}

func TestWhatACommandLeavesBehindIsKilled(t *testing.T) {
	c := newCLI(t)
	c.ok("publish", "orders", "1")
	dir := t.TempDir()
	p := c.worker("orders", "--group", "billing", "--", "sh", "-c", `sleep 1000 & echo $! > "$0/left"`, dir)
	c.finished("orders", "billing")
	pid, err := strconv.Atoi(strings.TrimSpace(read(filepath.Join(dir, "left"))))
	if err != nil || running(pid) {
		t.Errorf("%d still runs: %v", pid, err)
	}
	p.interrupted()
}

func TestAWorkerThatSleptPastItsLoanEndsItsCommandAndIsNotHeard(t *testing.T) {
	c := newCLI(t)
	c.ok("publish", "orders", "1")
	dir := t.TempDir()
	zombie := c.worker("orders", "--group", "billing", "--loan", "1s", "--emit", "orders.out", "--", "sh", "-c", `
		trap 'echo told > "$0/told"; echo "\"zombie\""; exit 0' TERM
		echo $$ > "$0/command"
		while :; do sleep 0.01; done`, dir)
	pids(t, dir, "command")
	zombie.signal(syscall.SIGSTOP)
	other := c.worker("orders", "--group", "billing", "--loan", "1s", "--emit", "orders.out", "--", "echo", `"other"`)
	c.finished("orders", "billing")
	if got := read(filepath.Join(dir, "told")); got != "" {
		t.Error("a worker that sleeps has ended its command")
	}
	zombie.signal(syscall.SIGCONT)
	until(t, "the command to be told", func() bool { return read(filepath.Join(dir, "told")) != "" })
	zombie.interrupted()
	other.interrupted()
	if got := c.tail("orders.out"); len(got) != 1 || string(got[0].Payload) != `"other"` {
		t.Errorf("emitted are %+v", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "told")); err != nil {
		t.Error(err)
	}
}
