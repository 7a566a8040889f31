package local_test

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/musterhq/muster/adapter/local"
	"github.com/musterhq/muster/port"
)

func TestACommandWithoutNetworkDoesNotReachThisMachine(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	c := port.Command{Program: os.Args[0], Args: []string{server.Addr().String()}, Dir: t.TempDir(), Env: []string{role + "=dial"}}
	if res := run(t, c); !res.OK() || res.Isolation.Network {
		t.Fatalf("with network: %+v, %s", res, res.Stdout)
	}
	c.Offline = true
	if res := run(t, c); res.OK() == res.Isolation.Network {
		t.Errorf("offline, the server was reached: %v, and the isolation reported is %+v", res.OK(), res.Isolation)
	}
	c.Require.Network = true
	res, err := local.Runner{}.Run(t.Context(), c)
	if err == nil && (res.OK() || !res.Isolation.Network) || err != nil && !errors.Is(err, port.ErrUnsupported) {
		t.Errorf("required to be without network: %+v, %v", res, err)
	}
}

func TestWithoutPrlimitAMemoryLimitIsNotGivenAndNotPretended(t *testing.T) {
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", t.TempDir())
	c := port.Command{Program: shell, Args: []string{"-c", "exit 0"}, Dir: t.TempDir(), Memory: 1 << 30}
	if res := run(t, c); !res.OK() || res.Isolation.Memory != port.MemoryUnlimited {
		t.Errorf("%+v", res)
	}
	c.Require.Memory = port.MemoryPerProcess
	if _, err := (local.Runner{}).Run(t.Context(), c); !errors.Is(err, port.ErrUnsupported) {
		t.Errorf("required: %v", err)
	}
}

func TestWhatLeavesTheGroupIsToldAndMayLiveOn(t *testing.T) {
	dir := t.TempDir()
	// The shell waits for the other to have its own session: until then it is in the group.
	res := run(t, sh(dir, `mkfifo up; setsid sh -c 'echo $$ > up; exec tail -f /dev/null' & read pid < up; echo $pid`))
	pid, err := strconv.Atoi(strings.TrimSpace(res.Stdout.String()))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("the process that escaped: %v", err)
	}
	if !res.Escaped || !res.OK() || res.Isolation.Processes {
		t.Errorf("%+v", res)
	}
}

func TestWhereEveryProcessIsRequiredToEndNoneEscapes(t *testing.T) {
	c := sh(t.TempDir(), `mkfifo up; setsid sh -c 'echo up > up; exec tail -f /dev/null' & read up < up; echo $$`)
	c.Require.Processes = true
	res, err := local.Runner{}.Run(t.Context(), c)
	if errors.Is(err, port.ErrUnsupported) {
		return // this machine gives no process namespaces, and says so
	}
	if err != nil || !res.OK() || res.Escaped || !res.Isolation.Processes || res.Stdout.String() != "1\n" {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestACommandDiesWithTheProcessThatRunsIt(t *testing.T) {
	for _, how := range []string{"run", "run whole"} {
		t.Run(how, func(t *testing.T) {
			dir := t.TempDir()
			fifo := filepath.Join(dir, "fifo")
			if err := syscall.Mkfifo(fifo, 0o600); err != nil {
				t.Fatal(err)
			}
			parent := exec.CommandContext(t.Context(), os.Args[0], dir)
			parent.Env = append(os.Environ(), role+"="+how)
			if err := parent.Start(); err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(fifo) // returns when the command holds the other end
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := f.Close(); err != nil {
					t.Error(err)
				}
			})
			if _, err := io.ReadFull(f, make([]byte, len("up\n"))); err != nil {
				t.Fatal(err)
			}
			if err := parent.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := parent.Wait(); err == nil {
				t.Error("the parent ended by itself")
			}
			if err := f.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if rest, err := io.ReadAll(f); err != nil {
				t.Errorf("the command lives on: %q, %v", rest, err)
			}
		})
	}
}
