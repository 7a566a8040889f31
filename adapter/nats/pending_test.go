//go:build unix

package nats

import (
	"errors"
	"fmt"
	"testing"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/musterhq/muster/port"
)

// The client drops what comes for a subscription that has too much in hand. Here the adapter itself stands still, as on a machine
// without a processor to spare; whose connection it is makes no difference.
func TestWhatTheClientDropsIsToldAsAGap(t *testing.T) {
	own, err := Embedded(t.Context(), EmbeddedConfig{Dir: t.TempDir(), Relaxed: true})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := client.Connect(own.host.at.URL, client.Token(own.host.at.Token), client.ErrorHandler(func(*client.Conn, *client.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	brought, err := Open(t.Context(), Config{Conn: conn})
	if err != nil {
		t.Fatal(err)
	}
	for what, b := range map[string]*Backend{"a connection of its own": own, "a connection that was brought": brought} {
		// What floods it is of the same subscription and not listened to: the buffer of the loop stays empty.
		seq, err := b.Listen(t.Context(), "news.a*")
		if err != nil {
			t.Fatal(err)
		}
		l, sub := onlyListener(b)
		l.mu.Lock()
		dropped := func() int {
			n, err := sub.Dropped()
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		for sent := 0; dropped() == 0; sent++ {
			if sent > 1<<17 {
				t.Fatalf("%s: nothing is dropped of %d signals", what, sent)
			}
			if err := conn.Publish(own.space.signal("news.flood"), []byte("flood")); err != nil {
				t.Fatal(err)
			}
			if sent%1000 == 0 {
				if err := conn.FlushTimeout(time.Minute); err != nil {
					t.Fatal(err)
				}
			}
		}
		l.mu.Unlock()
		if err := own.Signal(t.Context(), "news.all", []byte("last")); err != nil {
			t.Fatal(err)
		}
		for sig, err := range seq {
			if !errors.Is(err, port.ErrGap) {
				t.Errorf("%s: %q, %v, and no gap was told before", what, sig.Payload, err)
			}
			break
		}
	}
	if err := errors.Join(brought.Close(), own.Close()); err != nil {
		t.Error(err)
	}
}

// onlyListener is the one that the backend has.
func onlyListener(b *Backend) (*listener, *client.Subscription) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for l, sub := range b.listeners {
		return l, sub
	}
	panic(fmt.Sprintf("%d listeners", len(b.listeners)))
}
