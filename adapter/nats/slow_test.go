//go:build unix

package nats_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	client "github.com/nats-io/nats.go"

	"github.com/musterhq/muster/adapter/nats"
	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

// flood sends numbered signals over a connection of its own.
type flood struct {
	t    *testing.T
	conn *client.Conn
	sent int
}

func newFlood(t *testing.T, url string) *flood {
	t.Helper()
	conn, err := client.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return &flood{t: t, conn: conn}
}

// send returns when the server has n more signals, of so many bytes at least.
func (f *flood) send(n, size int) {
	f.t.Helper()
	for range n {
		text := strconv.Itoa(f.sent)
		if err := f.conn.Publish("muster.muster.n.news", []byte(text+strings.Repeat(" ", max(0, size-len(text))))); err != nil {
			f.t.Fatal(err)
		}
		f.sent++
	}
	if err := f.conn.Flush(); err != nil {
		f.t.Fatal(err)
	}
}

// heard reads signals up to the first that has the number last or a larger one, and demands that ErrGap stands wherever some are
// missing. Meanwhile it sends more of them, because the first ones may be missed as well.
func (f *flood) heard(seq iter.Seq2[port.Signal, error], last int) (missed, gaps int) {
	f.t.Helper()
	ctx, stop := context.WithCancel(f.t.Context())
	var sending sync.WaitGroup
	sending.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			f.send(1, 0)
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
	defer sending.Wait()
	defer stop()
	next, told := 0, false
	for sig, err := range seq {
		if errors.Is(err, port.ErrGap) {
			told = true
			gaps++
			continue
		}
		if err != nil {
			f.t.Fatal(err)
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(sig.Payload)))
		if err != nil {
			f.t.Fatal(err)
		}
		if n < next || n > next && !told {
			f.t.Errorf("signal %d came where %d was next, and ErrGap told before it is %v", n, next, told)
		}
		missed += n - next
		if next, told = n+1, false; n >= last {
			break
		}
	}
	return missed, gaps
}

func TestALoopThatDoesNotReadIsToldThatItMissedSignals(t *testing.T) {
	s := newProcess(t)
	b := open(t, nats.Config{URL: s.url()})
	seq, err := b.Listen(t.Context(), "news")
	if err != nil {
		t.Fatal(err)
	}
	f := newFlood(t, s.url())
	const all = 20_000
	f.send(all, 0)
	missed, gaps := f.heard(seq, all)
	t.Logf("of %d signals to a loop that did not read %d were missed, told by ErrGap %d times", all, missed, gaps)
	if missed == 0 || gaps == 0 {
		t.Error("nothing was missed: this test shows nothing")
	}
}

// The server keeps so much for a connection that does not read, and then closes it.
func TestAListenerThatTheServerCutsOffAsTooSlowIsToldOfAGap(t *testing.T) {
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
		MaxPending: 2 << 20, WriteDeadline: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server is not ready")
	}
	proxy := testserver.NewProxy(t, srv.Addr().String())
	b := open(t, nats.Config{URL: "nats://" + proxy.Addr()})
	seq, err := b.Listen(t.Context(), "news")
	if err != nil {
		t.Fatal(err)
	}
	f := newFlood(t, srv.ClientURL())
	f.send(10, 0)
	proxy.BlackHoleDown()
	eventually(t, "the server cuts the listener off", func() error {
		f.send(100, 32<<10)
		if srv.NumSlowConsumers() == 0 {
			return fmt.Errorf("not after %d signals", f.sent)
		}
		return nil
	})
	missing := f.sent
	proxy.Restore()
	missed, gaps := f.heard(seq, missing)
	t.Logf("of %d signals %d were missed, told by ErrGap %d times", missing, missed, gaps)
	if missed == 0 || gaps == 0 {
		t.Error("nothing was missed: this test shows nothing")
	}
}
