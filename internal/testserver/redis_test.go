//go:build unix

package testserver_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/internal/testserver"
)

// client speaks to Redis line by line, in its inline form.
type client struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func dial(t *testing.T, addr string) *client {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // the server may have closed it before
	return &client{t, conn, bufio.NewReader(conn)}
}

func (c *client) send(line string) {
	c.t.Helper()
	if _, err := c.conn.Write([]byte(line + "\r\n")); err != nil {
		c.t.Fatalf("%s: %v", line, err)
	}
}

// answer returns one line, or the error of reading it.
func (c *client) answer() (string, error) {
	line, err := c.in.ReadString('\n')
	return strings.TrimSpace(line), err
}

// ask returns the answer, and of a string its text.
func (c *client) ask(line string) string {
	c.t.Helper()
	c.send(line)
	got, err := c.answer()
	if err == nil && strings.HasPrefix(got, "$") && got != "$-1" {
		got, err = c.answer()
	}
	if err != nil {
		c.t.Fatalf("%s: %v", line, err)
	}
	return got
}

func (c *client) want(line, answer string) {
	c.t.Helper()
	if got := c.ask(line); got != answer {
		c.t.Fatalf("%s is answered by %q, want %q", line, got, answer)
	}
}

// wantSilence checks that nothing comes for a while. A slow machine can only make it more silent.
func (c *client) wantSilence() {
	c.t.Helper()
	if err := c.conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		c.t.Fatal(err)
	}
	if got, err := c.answer(); !errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("answered by %q, %v; want silence", got, err)
	}
	if err := c.conn.SetReadDeadline(time.Time{}); err != nil {
		c.t.Fatal(err)
	}
}

func TestWhatRedisAcknowledgedSurvivesAKillAndARestart(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{})
	c := dial(t, s.Addr())
	c.want("SET k v", "+OK")
	addr, pid := s.Addr(), s.Pid()
	s.Kill()
	if _, err := c.answer(); err == nil {
		t.Fatal("the connection outlived the server")
	}
	if s.Pid() != 0 {
		t.Fatalf("process %d is left", s.Pid())
	}
	s.Restart()
	if s.Addr() != addr || s.Pid() == pid {
		t.Fatalf("restarted at %s as %d, was at %s as %d", s.Addr(), s.Pid(), addr, pid)
	}
	dial(t, s.Addr()).want("GET k", "v")
}

func TestAPausedServerIsSilentAndAnswersWhenItIsResumed(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{})
	c := dial(t, s.Addr())
	s.Pause()
	c.send("PING")
	c.wantSilence()
	s.Resume()
	if got, err := c.answer(); got != "+PONG" {
		t.Fatalf("answered by %q, %v", got, err)
	}
}

func TestAPausedServerCanBeStoppedAndKilled(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"})
	s.Pause()
	s.Stop()
	s.Resume() // nothing runs: nothing happens
	s.Stop()
	s.Kill()
	s.Restart()
	s.Pause()
	s.Kill()
}

func TestEveryFieldOfTheRedisConfigCounts(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{
		Appendfsync: "everysec", MaxMemory: "10mb", Password: "secret", Lines: []string{"databases 3"},
	})
	if want := "redis://:secret@" + s.Addr() + "/0"; s.URL() != want {
		t.Errorf("URL is %s, want %s", s.URL(), want)
	}
	c := dial(t, s.Addr())
	if got := c.ask("PING"); !strings.HasPrefix(got, "-NOAUTH") {
		t.Errorf("answered by %q without a password", got)
	}
	c.want("AUTH secret", "+OK")
	for name, want := range map[string]string{
		"appendonly": "yes", "appendfsync": "everysec", "maxmemory": strconv.Itoa(10 << 20), "maxmemory-policy": "noeviction", "databases": "3",
	} {
		if got := config(c, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	off := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"})
	if got := config(dial(t, off.Addr()), "appendonly"); got != "no" {
		t.Errorf("appendonly is %q, want no", got)
	}
	if want := "redis://" + off.Addr() + "/0"; off.URL() != want {
		t.Errorf("URL is %s, want %s", off.URL(), want)
	}
}

// config returns what CONFIG GET answers: an array of two strings.
func config(c *client, name string) string {
	c.t.Helper()
	c.send("CONFIG GET " + name)
	var line string
	for range 5 {
		var err error
		if line, err = c.answer(); err != nil {
			c.t.Fatal(err)
		}
	}
	return line
}

func TestAReplicaFollowsItsMaster(t *testing.T) {
	c := testserver.RedisConfig{Password: "secret", Lines: []string{"repl-diskless-sync-delay 0"}}
	master := testserver.Redis(t, c)
	c.ReplicaOf = master
	testserver.Redis(t, c)
	m := dial(t, master.Addr())
	m.want("AUTH secret", "+OK")
	m.want("SET k v", "+OK")
	m.want("WAIT 1 30000", ":1")
}

func TestAServerWithTLSTakesNothingElseAndIsTrustedByItsOwnRootsAlone(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{TLS: true, Password: "secret"})
	if want := "rediss://:secret@" + s.Addr() + "/0"; s.URL() != want {
		t.Errorf("URL is %s, want %s", s.URL(), want)
	}
	trusting := tls.Dialer{Config: s.TLS()}
	conn, err := trusting.DialContext(t.Context(), "tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := &client{t, conn, bufio.NewReader(conn)}
	c.want("AUTH secret", "+OK")
	c.want("PING", "+PONG")
	if _, err := new(tls.Dialer).DialContext(t.Context(), "tcp", s.Addr()); err == nil {
		t.Error("the system's roots trust the server")
	}
	plain := dial(t, s.Addr())
	plain.send("PING")
	if got, err := plain.answer(); err == nil && got == "+PONG" {
		t.Error("it answers without TLS")
	}
	if testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"}).TLS() != nil {
		t.Error("a server without TLS has something to trust")
	}
}

func TestTwoServersOfOneTestDoNotMeet(t *testing.T) {
	a, b := testserver.Redis(t, testserver.RedisConfig{}), testserver.Redis(t, testserver.RedisConfig{})
	dial(t, a.Addr()).want("SET k v", "+OK")
	dial(t, b.Addr()).want("GET k", "$-1")
}
