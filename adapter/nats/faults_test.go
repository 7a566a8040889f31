//go:build unix

package nats_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/musterhq/muster/adapter/nats"
	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

func TestALostConnectionIsToldAndMended(t *testing.T) {
	s := newProcess(t)
	proxy := testserver.NewProxy(t, s.addr())
	b := open(t, nats.Config{URL: "nats://" + proxy.Addr(), Timeout: 2 * time.Second})
	near := open(t, nats.Config{URL: s.url()})
	ctx := t.Context()
	seq, err := b.Listen(ctx, "news.*")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Write(ctx, port.Batch{Messages: []port.Message{{Topic: "orders", ID: "1"}}}); err != nil {
		t.Fatal(err)
	}
	proxy.Cut()
	eventually(t, "the loss is noticed", func() error {
		err := b.Write(ctx, port.Batch{ID: "b2", Messages: []port.Message{{Topic: "orders", ID: "2"}}})
		if errors.Is(err, port.ErrUnavailable) && b.Health(ctx).State == port.Unavailable {
			return nil
		}
		return fmt.Errorf("write: %w", err)
	})
	if err := near.Signal(ctx, "news.1", []byte("missed")); err != nil {
		t.Fatal(err)
	}
	proxy.Restore()
	eventually(t, "the connection is mended", func() error {
		return b.Write(ctx, port.Batch{ID: "b2", Messages: []port.Message{{Topic: "orders", ID: "2"}}})
	})
	list, err := b.Read(ctx, port.Range{Topic: "orders", Max: 10})
	if err != nil || len(list) != 2 {
		t.Errorf("read %d entries, %v; want 2", len(list), err)
	}
	heard := make(chan struct{})
	go func() { // again and again: the first may fall into the gap itself
		for {
			select {
			case <-heard:
				return
			case <-time.After(20 * time.Millisecond):
				if err := near.Signal(ctx, "news.2", nil); err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
			}
		}
	}()
	gap := false
	for sig, err := range seq {
		if errors.Is(err, port.ErrGap) {
			gap = true
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if sig.Channel == "news.2" {
			break
		}
	}
	close(heard)
	if !gap {
		t.Error("a listener whose connection was lost was told of no gap")
	}
}

func TestASilentServerDelaysNobodyLongerThanTheTimeout(t *testing.T) {
	s := newProcess(t)
	proxy := testserver.NewProxy(t, s.addr())
	b := open(t, nats.Config{URL: "nats://" + proxy.Addr(), Timeout: 300 * time.Millisecond})
	proxy.BlackHoleDown()
	err := b.Write(t.Context(), port.Batch{Messages: []port.Message{{Topic: "orders", ID: "1"}}})
	if !errors.Is(err, port.ErrUnavailable) { // it could not even look
		t.Errorf("a write that is not answered: %v, want ErrUnavailable", err)
	}
	_, err = b.Get(t.Context(), "k")
	if !errors.Is(err, port.ErrUnavailable) {
		t.Errorf("a read that is not answered: %v, want ErrUnavailable", err)
	}
	if _, err := b.Apply(t.Context(), port.Change{Key: "k", Value: []byte("1")}); !errors.Is(err, port.ErrUncertain) {
		t.Errorf("a change that is not answered: %v, want ErrUncertain", err)
	}
}

func TestADeletedStreamIsToldAndABeginningAnewIsNotTakenForTheOld(t *testing.T) {
	s := newProcess(t)
	c := nats.Config{URL: s.url(), Namespace: "gone"}
	b := open(t, c)
	ctx := t.Context()
	g := port.Group{Topic: "orders", Name: "workers", Consumer: "c1", Loan: time.Minute}
	if err := b.Join(ctx, g); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if err := b.Write(ctx, port.Batch{Messages: []port.Message{{Topic: "orders", ID: fmt.Sprint(i)}}}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := b.Fetch(ctx, g, 5)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := client.Connect(s.url())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Request("$JS.API.STREAM.DELETE.muster_gone", nil, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := b.Write(ctx, port.Batch{Messages: []port.Message{{Topic: "orders", ID: "x"}}}); !errors.Is(err, port.ErrUnavailable) {
		t.Errorf("write without a stream: %v, want ErrUnavailable", err)
	}
	if h := b.Health(ctx); h.State != port.Unavailable {
		t.Errorf("health without a stream: %v", h)
	}
	open(t, c) // makes it anew
	if _, err := b.Fetch(ctx, g, 1); !errors.Is(err, port.ErrLost) {
		t.Errorf("fetch of a group that went with the stream: %v, want ErrLost", err)
	}
	if err := b.Write(ctx, port.Batch{Messages: []port.Message{{Topic: "orders", ID: "0"}}}); err != nil {
		t.Errorf("write to the new stream: %v", err)
	}
	if _, err := b.Read(ctx, port.Range{Topic: "orders", After: list[0].Offset, Max: 1}); !errors.Is(err, port.ErrGap) {
		t.Errorf("read after an offset of the deleted stream: %v, want ErrGap", err)
	}
	if err := b.Join(ctx, g); err != nil {
		t.Fatal(err)
	}
	if err := b.Settle(ctx, g, port.Settlement{Receipt: list[0].Receipt})[0]; !errors.Is(err, port.ErrStale) {
		t.Errorf("settlement with a receipt of the deleted stream: %v, want ErrStale", err)
	}
	list, err = b.Fetch(ctx, g, 5)
	if err != nil || len(list) != 1 || list[0].Message.ID != "0" {
		t.Errorf("fetch from the new stream: %v, %v; want message 0", list, err)
	}
}

func TestAServerThatIsTooOldIsRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	done := make(chan error, 1)
	go func() { done <- oldServer(l) }()
	_, err = nats.Open(t.Context(), nats.Config{URL: "nats://" + l.Addr().String()})
	if !errors.Is(err, port.ErrUnsupported) || !strings.Contains(err.Error(), "2.12") {
		t.Errorf("open of a server of version 2.9: %v, want ErrUnsupported and what is needed", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// oldServer greets one client as version 2.9.10 does, and answers its pings.
func oldServer(l net.Listener) (err error) {
	c, err := l.Accept()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if _, err := fmt.Fprintf(c, "INFO {\"server_id\":\"old\",\"version\":\"2.9.10\",\"headers\":true,\"max_payload\":1048576,\"proto\":1}\r\n"); err != nil {
		return err
	}
	for lines := bufio.NewScanner(c); lines.Scan(); {
		if lines.Text() == "PING" {
			if _, err := fmt.Fprint(c, "PONG\r\n"); err != nil {
				return err
			}
		}
	}
	return nil
}

func TestAServerThatIsNotThereIsUnavailable(t *testing.T) {
	_, err := nats.Open(t.Context(), nats.Config{URL: "nats://user:secret@127.0.0.1:1", Timeout: time.Second})
	if !errors.Is(err, port.ErrUnavailable) || strings.Contains(err.Error(), "secret") {
		t.Errorf("open: %v, want ErrUnavailable and no password in it", err)
	}
}

func TestACallersConnectionStaysOpen(t *testing.T) {
	s := newProcess(t)
	conn, err := client.Connect(s.url())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	b, err := nats.Open(t.Context(), nats.Config{Conn: conn})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Signal(t.Context(), "news", nil); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if conn.Status() != client.CONNECTED || conn.NumSubscriptions() != 0 {
		t.Errorf("after Close the caller's connection is %v with %d subscriptions", conn.Status(), conn.NumSubscriptions())
	}
	if err := b.Signal(context.Background(), "news", nil); !errors.Is(err, port.ErrClosed) {
		t.Errorf("signal after Close: %v, want ErrClosed", err)
	}
}
