//go:build unix

package terms_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/musterhq/muster/port"
	"github.com/musterhq/muster/proof/histories"
)

// job is what a candidate's process is told to be.
type job struct {
	ID  string
	Way string
	URL string
	TTL time.Duration
}

func candidateMain(text string) int {
	if err := candidate(text); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// candidate contends until it is asked to end, and tells all that it does. The clock that it tells by is the machine's, which all
// processes share.
func candidate(text string) (err error) {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	b, err := openAt(ctx, j.URL)
	for (errors.Is(err, port.ErrUnavailable) || errors.Is(err, port.ErrUncertain)) && pause(ctx, 100*time.Millisecond) {
		b, err = openAt(ctx, j.URL) // a busy machine may need more than the second that an answer has
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	tell := func(a histories.Act) {
		mu.Lock()
		defer mu.Unlock()
		if err := out.Encode(a); err != nil {
			os.Exit(1) // the test is gone
		}
	}
	tell(histories.Act{What: ready, ID: j.ID})
	c := histories.Client{ID: j.ID, Way: j.Way, Backend: b, TTL: j.TTL, Stay: j.TTL / 5, Past: 2 * j.TTL, Look: 200 * time.Microsecond, Tell: tell}
	if j.Way != histories.Lead {
		c.Pace = 10 * time.Millisecond
	}
	return c.Run(ctx)
}

// ready is what a candidate tells first.
const ready = "ready"
