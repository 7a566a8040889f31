//go:build unix

package nats_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	client "github.com/nats-io/nats.go"

	"github.com/musterhq/muster/adapter/nats"
	"github.com/musterhq/muster/internal/testserver"
)

// serverEnv makes this test binary a nats-server: port and directory.
const serverEnv = "MUSTER_TEST_NATS_SERVER"

func TestMain(m *testing.M) {
	if at := os.Getenv(serverEnv); at != "" {
		serve(at)
		return
	}
	os.Exit(run(m))
}

// built is where the tests of this process have built nats-server; "": nowhere yet.
var built struct {
	sync.Once
	dir string
	err error
}

func run(m *testing.M) int {
	code := m.Run()
	if err := os.RemoveAll(built.dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// natsServer is the program of the module that this package requires, built without the race detector: it is not what is tested.
func natsServer(t *testing.T) string {
	t.Helper()
	built.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "muster-nats-server"); built.err != nil {
			return
		}
		said, err := exec.Command("go", "build", "-o", built.dir, "github.com/nats-io/nats-server/v2").CombinedOutput()
		if err != nil {
			built.err = fmt.Errorf("%w: %s", err, said)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "nats-server")
}

// serve is a nats-server as a process of its own, until it is killed.
func serve(at string) {
	address, dir, _ := cut(at)
	port, err := strconv.Atoi(address)
	if err != nil {
		panic(err)
	}
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true})
	if err != nil {
		panic(err)
	}
	s.Start()
	s.WaitForShutdown()
}

func cut(at string) (string, string, bool) {
	for i := range at {
		if at[i] == '@' {
			return at[:i], at[i+1:], true
		}
	}
	return at, "", false
}

// process is a nats-server that can be killed and started again on its data.
type process struct {
	t    *testing.T
	port int
	dir  string
	cmd  *exec.Cmd
}

func newProcess(t *testing.T) *process {
	t.Helper()
	p := &process{t: t, port: testserver.FreePort(t), dir: t.TempDir()}
	p.start()
	t.Cleanup(p.kill)
	return p
}

func (p *process) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)) }
func (p *process) url() string  { return "nats://" + p.addr() }

// start returns when JetStream answers.
func (p *process) start() {
	p.t.Helper()
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d@%s", serverEnv, p.port, p.dir))
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	eventually(p.t, "the server answers", func() error {
		c, err := client.Connect(p.url(), client.Timeout(time.Second))
		if err != nil {
			return err
		}
		defer c.Close()
		m, err := c.Request("$JS.API.INFO", nil, time.Second)
		if err == nil && m.Header.Get("Status") != "" {
			err = errors.New("JetStream is not ready")
		}
		return err
	})
}

// kill ends the server at once, as kill -9 does.
func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Error(err)
	}
	_ = p.cmd.Wait() // tells that it was killed
	p.cmd = nil
}

// eventually tries until try answers nil.
func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("%s: not within a minute; last: %v", what, err)
		}
	}
}

// open is one process on a namespace of a server.
func open(t *testing.T, c nats.Config) *nats.Backend {
	t.Helper()
	b, err := nats.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}
