//go:build unix

package testserver

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// RedisConfig is how a redis-server is set up. The zero value loses nothing that it acknowledged at kill -9.
type RedisConfig struct {
	Appendfsync string   // always, everysec, no; or off: no append-only file; default always
	MaxMemory   string   // such as 10mb, with the policy noeviction; default no limit
	Password    string   // default none
	ReplicaOf   *Server  // a Redis with the same password and without TLS; default none
	TLS         bool     // the port takes TLS alone, by a certificate that Server.TLS trusts; default false
	Proxied     bool     // replicas, sentinels and clients of a cluster are told to come through Server.Proxy; default false
	Lines       []string // further lines of redis.conf, such as "save 1 1"; default none
}

// Redis starts a redis-server and returns when it answers.
func Redis(t testing.TB, c RedisConfig) *Server {
	t.Helper()
	k := redis{path: serverBinary(t, "redis-server", "/usr/bin/redis-server", "/usr/local/bin/redis-server"), config: c}
	if c.TLS {
		k.identity = newIdentity(t)
	}
	if c.Proxied {
		k.proxy = NewProxy(t, "") // first, for the server announces its port
	}
	s := start(t, k, t.TempDir())
	if k.proxy != nil {
		k.proxy.aim(s.Addr())
	}
	return s
}

// Proxy returns the proxy through which others are told to come to a Redis that is set up as Proxied.
func (s *Server) Proxy() *Proxy {
	s.t.Helper()
	r, ok := s.kind.(redis)
	if !ok || r.proxy == nil {
		s.t.Fatalf("testserver: %s at %s is not set up as Proxied", s.kind.name(), s.Addr())
	}
	return r.proxy
}

// known is the address by which others know a Redis.
func (s *Server) known() string {
	if r, ok := s.kind.(redis); ok && r.proxy != nil {
		return r.proxy.Addr()
	}
	return s.Addr()
}

type redis struct {
	path     string
	config   RedisConfig
	identity *identity // nil: no TLS
	proxy    *Proxy    // nil: not Proxied
}

func (redis) name() string               { return "redis-server" }
func (redis) stopSignal() syscall.Signal { return syscall.SIGTERM }

// command writes the configuration, into which sentinels have the server write whose replica it is, unless it is there from before.
func (r redis) command(dir string, port int) *exec.Cmd {
	file := filepath.Join(dir, "redis-"+strconv.Itoa(port)+".conf")
	if _, err := os.Stat(file); err != nil {
		text := strings.Join(append(r.lines(dir, port), r.config.Lines...), "\n") + "\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			file = err.Error() // the server names it when it cannot be read
		}
	}
	return exec.CommandContext(context.Background(), r.path, file) // a Server ends it, or the death of the test process
}

func (r redis) lines(dir string, port int) []string {
	lines := []string{
		"bind 127.0.0.1",
		"port " + strconv.Itoa(port),
		"dir " + dir,
		"daemonize no",
		`save ""`,
	}
	switch r.config.Appendfsync {
	case "off":
	case "":
		lines = append(lines, "appendonly yes", "appendfsync always")
	default:
		lines = append(lines, "appendonly yes", "appendfsync "+r.config.Appendfsync)
	}
	if i := r.identity; i != nil {
		lines = append(lines, "port 0", "tls-port "+strconv.Itoa(port), "tls-cert-file "+i.cert, "tls-key-file "+i.key, "tls-ca-cert-file "+i.cert, "tls-auth-clients no")
	}
	if r.config.MaxMemory != "" {
		lines = append(lines, "maxmemory "+r.config.MaxMemory, "maxmemory-policy noeviction")
	}
	if r.config.Password != "" {
		lines = append(lines, "requirepass "+r.config.Password, "masterauth "+r.config.Password)
	}
	if r.config.ReplicaOf != nil {
		host, master, _ := strings.Cut(r.config.ReplicaOf.known(), ":")
		lines = append(lines, "replicaof "+host+" "+master)
	}
	if r.proxy != nil {
		_, own, _ := strings.Cut(r.proxy.Addr(), ":")
		lines = append(lines, "replica-announce-port "+own, "cluster-announce-port "+own)
	}
	return lines
}

func (r redis) url(addr string) string {
	u := url.URL{Scheme: "redis", Host: addr, Path: "/0"}
	if r.identity != nil {
		u.Scheme = "rediss"
	}
	if r.config.Password != "" {
		u.User = url.UserPassword("", r.config.Password)
	}
	return u.String()
}

func (r redis) ready(ctx context.Context, addr, _ string, pid int) (err error) {
	conn, err := dial(ctx, addr)
	if err != nil {
		return err
	}
	if r.identity != nil {
		conn = tls.Client(conn, &tls.Config{RootCAs: r.identity.roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12})
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	in := bufio.NewReader(conn)
	if r.config.Password != "" {
		if err := r.ask(conn, in, "+OK", "AUTH", r.config.Password); err != nil {
			return err
		}
	}
	if err := r.ask(conn, in, "+PONG", "PING"); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, resp("INFO", "server")); err != nil {
		return err
	}
	want := fmt.Sprintf("process_id:%d\r\n", pid)
	for { // the answer ends with the read deadline at the latest
		line, err := in.ReadString('\n')
		if err != nil {
			return fmt.Errorf("another server than process %d answers: %w", pid, err)
		}
		if line == want {
			return nil
		}
	}
}

// ask sends one command and compares the line that answers it.
func (redis) ask(conn net.Conn, in *bufio.Reader, want string, command ...string) error {
	if _, err := io.WriteString(conn, resp(command...)); err != nil {
		return err
	}
	got, err := in.ReadString('\n')
	if err != nil {
		return err
	}
	if got = strings.TrimSpace(got); got != want {
		return fmt.Errorf("%s is answered by %q", command[0], got)
	}
	return nil
}

// resp is a command as Redis reads it.
func resp(command ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(command))
	for _, word := range command {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(word), word)
	}
	return b.String()
}

// dial connects for one question: what is not answered within two seconds is asked again on another connection.
func dial(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return nil, fmt.Errorf("%w: %w", err, conn.Close())
	}
	return conn, nil
}
