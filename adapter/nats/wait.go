package nats

import (
	"context"
	"fmt"
	"sync"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/musterhq/muster/port"
)

// poll is how long a call that waits believes that a hint was not lost.
const poll = 250 * time.Millisecond

// bells are the subscriptions to hints by subject, one for each that this process waited for. A bell is a channel that is
// closed by the next hint.
type bells struct {
	b  *Backend
	mu sync.Mutex
	by map[string]chan struct{}
}

// listen returns the bell of a subject. What happens from then on rings it, or was missed with the hint: polling is the truth.
func (h *bells) listen(ctx context.Context, subject string) (<-chan struct{}, error) {
	h.mu.Lock()
	bell := h.by[subject]
	if bell != nil {
		h.mu.Unlock()
		return bell, nil
	}
	bell = make(chan struct{})
	h.by[subject] = bell
	h.mu.Unlock()
	err := h.b.subscribe(subject, func(*client.Msg) { h.ring(subject) })
	if err == nil {
		err = h.b.flush(ctx)
	}
	if err != nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.by, subject)
		return nil, err
	}
	return bell, nil
}

func (h *bells) ring(subject string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if bell := h.by[subject]; bell != nil {
		close(bell)
		h.by[subject] = make(chan struct{})
	}
}

// ringAll wakes everyone: hints may have been lost.
func (h *bells) ringAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for subject, bell := range h.by {
		close(bell)
		h.by[subject] = make(chan struct{})
	}
}

// wait sleeps until the bell rings, for d at most.
func (b *Backend) wait(ctx context.Context, what string, bell <-chan struct{}, d time.Duration) error {
	t := time.NewTimer(max(d, 0))
	defer t.Stop()
	select {
	case <-bell:
	case <-t.C:
	case <-ctx.Done():
		return fmt.Errorf("nats: %s: %w", what, context.Cause(ctx))
	case <-b.ctx.Done():
		return fmt.Errorf("nats: %s: %w", what, port.ErrClosed)
	}
	return nil
}

// flush returns when the server has seen all that was sent before.
func (b *Backend) flush(ctx context.Context) error {
	within, cancel := context.WithTimeoutCause(ctx, b.conf.timeout(), errSilent)
	defer cancel()
	if err := b.conn.FlushWithContext(within); err != nil {
		if within.Err() != nil {
			return context.Cause(within)
		}
		return fmt.Errorf("%w: %w", errCut, err)
	}
	return nil
}
