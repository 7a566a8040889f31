package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/musterhq/muster/port"
)

// EmbeddedConfig is how a server in the process is opened.
type EmbeddedConfig struct {
	Dir        string        // of the data, made with mode 0700 where it is missing; one server at a time has it; required
	Namespace  string        // as in Config; default "muster"
	Relaxed    bool          // writes reach the disk some time later: a power cut may lose up to 2 minutes of them, a kill none; default false
	MaxBytes   int64         // of the namespace, kept with it until another is given; a write over it is refused; default what was given before, or none
	MaxPayload int           // bytes of a message, 1 MiB to 64 MiB, the same in all processes of Dir; default 8 MiB
	Timeout    time.Duration // of starting and of an answer; default 5 s
	Linger     time.Duration // how long Close lets those who joined end before the server does; default 1 s, negative none
	AllowClear bool          // leave to Clear; default false
}

func (c EmbeddedConfig) config() Config {
	return Config{URL: "nats://127.0.0.1", Namespace: c.Namespace, MaxBytes: c.MaxBytes, Timeout: c.Timeout, AllowClear: c.AllowClear}
}

func (c EmbeddedConfig) payload() int {
	if c.MaxPayload == 0 {
		return 8 << 20
	}
	return c.MaxPayload
}

func (c EmbeddedConfig) check() error {
	bad := func(why string) error { return fmt.Errorf("nats: embedded: %s: %w", why, port.ErrInvalid) }
	switch {
	case c.Dir == "":
		return bad("Dir is empty: give the directory of the data")
	case c.MaxPayload != 0 && (c.MaxPayload < 1<<20 || c.MaxPayload > 64<<20):
		return bad("MaxPayload is not in 1 MiB to 64 MiB; 0 is the default")
	}
	return c.config().check()
}

func (c EmbeddedConfig) linger() time.Duration {
	if c.Linger == 0 {
		return time.Second
	}
	return max(0, c.Linger)
}

// Embedded opens a namespace on a server in this process, that keeps its data in c.Dir and listens on a loopback port with a
// token, so that nobody but this user's processes can join. While another process has the directory, its server is joined. When
// that process ends, one of those who joined serves in its place, and the others join that one: calls wait for it, but for those that
// were under way, which answer as when a connection is lost.
//
// [port.ErrUnavailable] when the directory cannot be written, when it is taken and its server does not answer, and when that one is
// Relaxed and this one shall not be.
func Embedded(ctx context.Context, c EmbeddedConfig) (*Backend, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("nats: embedded: the directory of the data cannot be made: %w: %w", port.ErrUnavailable, err)
	}
	end := time.Now().Add(c.config().timeout())
	for {
		b, err := c.open(ctx)
		if !errors.Is(err, errAway) || ctx.Err() != nil || time.Now().After(end) {
			return b, err
		}
		t := time.NewTimer(10 * time.Millisecond)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, fmt.Errorf("nats: embedded: %w: %w", context.Cause(ctx), err)
		}
	}
}

// open is one try of Embedded. The error matches errAway when another process has the directory and is not to be reached now.
func (c EmbeddedConfig) open(ctx context.Context) (*Backend, error) {
	h := &host{conf: c, relaxed: c.Relaxed}
	if _, err := h.reach(); err != nil {
		return nil, errors.Join(fmt.Errorf("nats: embedded: %w: %w", port.ErrUnavailable, err), h.close())
	}
	conf := c.config()
	b := newBackend(ctx, conf)
	b.host, b.own = h, true
	b.where = "embedded in " + c.Dir
	o, err := conf.options(b)
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	o = append(o, client.SetCustomDialer(h), client.TokenHandler(h.token), client.IgnoreAuthErrorAbort(), client.CustomReconnectDelay(h.delay))
	if b.conn, err = client.Connect(conf.URL, o...); err == nil {
		if b, err = b.start(ctx); err == nil {
			return b.resized(ctx)
		}
	} else {
		err = errors.Join(fmt.Errorf("nats: %s: %w: %w", b.where, port.ErrUnavailable, err), b.Close())
	}
	if errors.Is(err, port.ErrUnavailable) && !h.mine() {
		err = h.away(err) // it ended meanwhile
	}
	return nil, err
}

// resized gives the namespace the size that is asked for, where it was made with another. What it holds stays, also where that is
// more.
func (b *Backend) resized(ctx context.Context) (*Backend, error) {
	if b.conf.MaxBytes == 0 {
		return b, nil
	}
	var info struct {
		Config map[string]json.RawMessage `json:"config"`
	}
	most := strconv.FormatInt(b.conf.MaxBytes+reserve(b.conf.MaxBytes), 10)
	err := b.api(ctx, "STREAM.INFO."+b.space.stream, nil, &info)
	if err == nil && string(info.Config["max_bytes"]) != most {
		info.Config["max_bytes"] = json.RawMessage(most)
		if err = b.api(ctx, "STREAM.UPDATE."+b.space.stream, info.Config, nil); err == nil {
			_, err = b.tellTime(ctx)
		}
	}
	if err != nil {
		return nil, errors.Join(b.fail(ctx, "open: set MaxBytes", err, true), b.Close())
	}
	return b, nil
}
