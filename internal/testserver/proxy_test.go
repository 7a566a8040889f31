//go:build unix

package testserver_test

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/musterhq/muster/internal/testserver"
)

// throughProxy returns a server, a proxy in front of it, a client through the proxy and one beside it.
func throughProxy(t *testing.T) (s *testserver.Server, p *testserver.Proxy, through, beside *client) {
	t.Helper()
	s = testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"})
	p = testserver.NewProxy(t, s.Addr())
	through, beside = dial(t, p.Addr()), dial(t, s.Addr())
	through.want("PING", "+PONG")
	return s, p, through, beside
}

func TestABlackHoleHoldsBothWaysAndDeliversWhenItIsRestored(t *testing.T) {
	_, p, through, beside := throughProxy(t)
	p.BlackHole()
	through.send("SET k v")
	through.wantSilence()
	beside.want("GET k", "$-1")
	p.Restore()
	if got, err := through.answer(); got != "+OK" {
		t.Fatalf("answered by %q, %v", got, err)
	}
}

func TestABlackHoleUpHoldsTheRequest(t *testing.T) {
	_, p, through, beside := throughProxy(t)
	p.BlackHoleUp()
	through.send("SET k v")
	through.wantSilence()
	beside.want("GET k", "$-1")
}

func TestABlackHoleDownHoldsTheAnswerOfWhatWasDone(t *testing.T) {
	_, p, through, beside := throughProxy(t)
	beside.want("CLIENT TRACKING off", "+OK")
	p.BlackHoleDown()
	through.send("RPUSH l v")
	if got := beside.ask("BLPOP l 0"); got != "*2" { // waits until it has been done
		t.Fatalf("answered by %q", got)
	}
	through.wantSilence()
	p.Reset()
	if got, err := through.answer(); err == nil {
		t.Fatalf("answered by %q after a reset", got)
	}
	p.Restore()
	dial(t, p.Addr()).want("PING", "+PONG")
}

func TestAResetEndsWhatIsThereAndLetsNewConnectionsThrough(t *testing.T) {
	_, p, through, _ := throughProxy(t)
	p.Reset()
	if _, err := through.answer(); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("reading ends with %v, want a reset", err)
	}
	dial(t, p.Addr()).want("PING", "+PONG")
}

func TestAResetFreesWhatABlackHoleHoldsInBothDirections(t *testing.T) {
	_, p, through, beside := throughProxy(t)
	through.send("SUBSCRIBE c")
	for range 3 * 2 {
		if _, err := through.answer(); err != nil {
			t.Fatal(err)
		}
	}
	p.BlackHole()
	beside.want("PUBLISH c news", ":1")
	through.send("PING")
	through.wantSilence()
	p.Reset()
	if _, err := through.answer(); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("reading ends with %v, want a reset", err)
	}
}

func TestACutRefusesUntilItIsRestoredOnTheSameAddress(t *testing.T) {
	_, p, through, _ := throughProxy(t)
	addr := p.Addr()
	p.Cut()
	p.Cut() // once is enough
	if _, err := through.answer(); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("reading ends with %v, want a reset", err)
	}
	if conn, err := net.Dial("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("dialling gives %v, %v; want a refusal", conn, err)
	}
	p.Restore()
	if p.Addr() != addr {
		t.Fatalf("restored at %s, was at %s", p.Addr(), addr)
	}
	dial(t, addr).want("PING", "+PONG")
}

func TestASlowConnectionTakesAtLeastTheDelayBothWays(t *testing.T) {
	_, p, through, _ := throughProxy(t)
	const delay = 20 * time.Millisecond
	p.Slow(delay)
	start := time.Now()
	through.want("PING", "+PONG")
	if d := time.Since(start); d < 2*delay {
		t.Fatalf("answered after %v, want %v at least", d, 2*delay)
	}
}

func TestADeadServerIsSeenThroughTheProxy(t *testing.T) {
	s, p, through, _ := throughProxy(t)
	s.Kill()
	if _, err := through.answer(); err == nil {
		t.Fatal("the connection outlived the server")
	}
	if again, err := net.Dial("tcp", p.Addr()); err == nil { // the reset may also come while dialling
		if n, err := again.Read(make([]byte, 1)); err == nil {
			t.Fatalf("a server that is gone answers %d bytes", n)
		}
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	}
	s.Restart()
	dial(t, p.Addr()).want("PING", "+PONG")
}
