package local_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/musterhq/muster/adapter/local"
	"github.com/musterhq/muster/port"
	"github.com/musterhq/muster/port/porttest"
)

// TestMain is what a command of a test runs when role says so.
func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "dial":
		os.Exit(dial(os.Args[1]))
	case "run":
		os.Exit(runOnce(os.Args[1], false))
	case "run whole":
		os.Exit(runOnce(os.Args[1], true))
	}
	os.Exit(m.Run())
}

const role = "MUSTER_LOCAL_TEST_ROLE"

// dial tells by its status whether a server can be reached.
func dial(address string) int {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	if err := conn.Close(); err != nil {
		return 2
	}
	return 0
}

// runOnce runs a command that does not end and holds the fifo in dir open: whole, in a process namespace where that is to be
// had, and then with a child of its own that holds it too.
func runOnce(dir string, whole bool) int {
	var err error
	if whole {
		c := sh(dir, `exec 3>fifo; tail -f /dev/null & echo up >&3; exec tail -f /dev/null`)
		c.Require.Processes = true
		_, err = local.Runner{}.Run(context.Background(), c)
	}
	if !whole || errors.Is(err, port.ErrUnsupported) {
		_, err = local.Runner{}.Run(context.Background(), sh(dir, `exec 3>fifo; echo up >&3; exec tail -f /dev/null`))
	}
	fmt.Println(err)
	return 1
}

func TestRunnerPassesTheContract(t *testing.T) {
	porttest.Runner(t, porttest.RunnerSuite{Open: func(*testing.T) port.Runner { return local.Runner{} }})
}

func sh(dir, script string) port.Command {
	return port.Command{Program: "sh", Args: []string{"-c", script}, Dir: dir, Env: []string{"PATH"}}
}

func run(t *testing.T, c port.Command) port.Result {
	t.Helper()
	res, err := local.Runner{}.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func executable(t *testing.T, path, body string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func TestAProgramThatCannotBeExecutedSaysWhy(t *testing.T) {
	dir := t.TempDir()
	executable(t, filepath.Join(dir, "plain"), "#!/bin/sh\n", 0o600)
	executable(t, filepath.Join(dir, "garbage"), "\x7fELF garbage", 0o700)
	executable(t, filepath.Join(dir, "nobody"), "#!/no/such/interpreter\n", 0o700)
	for program, want := range map[string]error{
		"./plain": port.ErrInvalid, "./garbage": port.ErrInvalid, "./nobody": port.ErrNotFound, dir: port.ErrInvalid, "no-such-program": port.ErrNotFound,
	} {
		_, err := local.Runner{}.Run(t.Context(), port.Command{Program: program, Dir: dir})
		if !errors.Is(err, want) || !strings.Contains(err.Error(), program) {
			t.Errorf("%s: error is %v, want %v", program, err, want)
		}
	}
}

func TestATimeOfItsOwnEndsACommandOnlyWhenItIsSet(t *testing.T) {
	c := sh(t.TempDir(), "echo done")
	c.Time = -1
	if res := run(t, c); !res.OK() || res.Stdout.String() != "done\n" {
		t.Errorf("without a limit: %+v", res)
	}
}

func TestTheTotalMemoryIsNotLimitedAndNotPretendedToBe(t *testing.T) {
	c := sh(t.TempDir(), "echo > started")
	c.Memory, c.Require.Memory = 1<<30, port.MemoryTotal
	_, err := local.Runner{}.Run(t.Context(), c)
	if !errors.Is(err, port.ErrUnsupported) || !strings.Contains(err.Error(), "a memory limit total") {
		t.Errorf("error is %v", err)
	}
}
