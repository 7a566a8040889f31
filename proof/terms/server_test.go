//go:build unix

package terms_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/musterhq/muster/adapter/nats"
	"github.com/musterhq/muster/adapter/redis"
	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

const serverVariable = "MUSTER_PROOF_NATS_SERVER" // holds the port and the folder of a process that is a nats-server

// backends are what the tests with processes run on, and each starts its server.
func backends() map[string]func(testing.TB) *testserver.Server {
	return map[string]func(testing.TB) *testserver.Server{
		"redis": func(t testing.TB) *testserver.Server { return testserver.Redis(t, testserver.RedisConfig{}) },
		"nats":  natsServer,
	}
}

// openAt opens the backend of a URL.
func openAt(ctx context.Context, url string) (port.Backend, error) {
	if strings.HasPrefix(url, "nats:") {
		return nats.Open(ctx, nats.Config{URL: url, Namespace: "terms", Timeout: time.Second})
	}
	return redis.Open(ctx, redis.Config{URL: url, Timeout: time.Second})
}

// natsServer is a nats-server that stands alone, whose every write is synced.
func natsServer(t testing.TB) *testserver.Server {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return testserver.Run(t, testserver.Program{
		Name: "nats-server",
		Command: func(dir string, port int) *exec.Cmd {
			cmd := exec.CommandContext(context.Background(), self)
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s", serverVariable, port, dir))
			return cmd
		},
		Ready: natsReady,
		URL:   func(addr string) string { return "nats://" + addr },
	})
}

// serverMain is a nats-server until it is killed. Its name is its pid.
func serverMain(text string) int {
	o := &server.Options{Host: "127.0.0.1", JetStream: true, SyncAlways: true, NoSigs: true, NoLog: true, ServerName: fmt.Sprint(os.Getpid())}
	_, err := fmt.Sscanf(text, "%d %s", &o.Port, &o.StoreDir)
	if err == nil {
		var s *server.Server
		if s, err = server.NewServer(o); err == nil {
			s.Start()
			s.WaitForShutdown()
			return 0
		}
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// natsReady asks JetStream for its state, in the words of the protocol.
func natsReady(ctx context.Context, addr string, pid int) (err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return err
	}
	if _, err := fmt.Fprint(conn, "CONNECT {\"verbose\":false}\r\nSUB answer 1\r\nPUB $JS.API.INFO answer 0\r\n\r\n"); err != nil {
		return err
	}
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		switch line := lines.Text(); {
		case strings.HasPrefix(line, "INFO ") && !strings.Contains(line, fmt.Sprintf(`"server_name":"%d"`, pid)):
			return fmt.Errorf("another server than process %d answers: %s", pid, line)
		case strings.Contains(line, "account_info_response") && !strings.Contains(line, `"error"`):
			return nil
		case strings.HasPrefix(line, "{"):
			return errors.New(line)
		}
	}
	return errors.Join(errors.New("JetStream does not answer"), lines.Err())
}
