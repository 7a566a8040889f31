package nats

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	client "github.com/nats-io/nats.go"

	"github.com/musterhq/muster/port"
)

// EmbeddedConfig is how a server in the process is opened.
type EmbeddedConfig struct {
	Dir        string        // of the data, made with mode 0700 where it is missing; one server at a time has it; required
	Namespace  string        // as in Config; default "muster"
	Relaxed    bool          // writes reach the disk some time later: a power cut may lose up to 2 minutes of them, a kill none; default false
	MaxBytes   int64         // of the namespace, when it is made here; a write over it is refused; default none
	MaxPayload int           // bytes of a message, 1 MiB to 64 MiB; default 8 MiB
	Timeout    time.Duration // of starting and of an answer; default 5 s
	AllowClear bool          // leave to Clear; default false
}

const (
	lockFile    = "lock"
	addressFile = "server.json"
	storeFolder = "store"
)

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

// address is what a process with the server tells others about it, in a file that only this user can read.
type address struct {
	URL     string `json:"url"`
	Token   string `json:"token"`
	PID     int    `json:"pid"`
	Relaxed bool   `json:"relaxed"`
}

// host is the server that belongs to a data directory: one in this process, or, where server is nil, in another.
type host struct {
	server  *server.Server
	run     sync.WaitGroup
	lock    *os.File
	dir     string
	relaxed bool
}

// synced reports whether every write is on the disk before it is acknowledged, as far as is known.
func (h *host) synced() bool { return h != nil && !h.relaxed }

// Embedded opens a namespace on a server in this process, that keeps its data in c.Dir and listens on a loopback port with a
// token, so that nobody but this user's processes can join. While another process has the directory, its server is joined; it
// ends with that process, and then calls here answer [port.ErrUnavailable]. [port.ErrUnavailable] too when the directory is
// taken and its server does not answer.
func Embedded(ctx context.Context, c EmbeddedConfig) (*Backend, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("nats: embedded: %w: %w", port.ErrUnavailable, err)
	}
	end := time.Now().Add(c.config().timeout())
	for {
		lock, err := lockDir(c.Dir)
		if err == nil {
			return c.serve(ctx, lock)
		}
		if !errors.Is(err, errLocked) {
			return nil, fmt.Errorf("nats: embedded: lock %s: %w: %w", c.Dir, port.ErrUnavailable, err)
		}
		b, err := c.join(ctx)
		if err == nil || errors.Is(err, port.ErrUnsupported) || errors.Is(err, port.ErrInvalid) {
			return b, err
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("nats: embedded: another process has %s, and its server cannot be joined: end it, or give another directory: %w", c.Dir, err)
		}
		t := time.NewTimer(50 * time.Millisecond)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, fmt.Errorf("nats: embedded: %w", context.Cause(ctx))
		}
	}
}

// serve starts the server of a directory that this process has locked.
func (c EmbeddedConfig) serve(ctx context.Context, lock *os.File) (*Backend, error) {
	h := &host{lock: lock, dir: c.Dir, relaxed: c.Relaxed}
	token := rand.Text()
	s, err := server.NewServer(&server.Options{
		ServerName:    "muster",
		Host:          "127.0.0.1",
		Port:          server.RANDOM_PORT,
		Authorization: token,
		JetStream:     true,
		StoreDir:      filepath.Join(c.Dir, storeFolder),
		SyncAlways:    !c.Relaxed,
		MaxPayload:    int32(c.payload()),
		NoLog:         true,
		NoSigs:        true,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("nats: embedded: %w: %w", port.ErrUnavailable, err), h.close())
	}
	h.server = s
	h.run.Go(s.Start)
	if !s.ReadyForConnections(c.config().timeout()) {
		return nil, errors.Join(fmt.Errorf("nats: embedded: the server in %s is not ready within %v: %w", c.Dir, c.config().timeout(), port.ErrUnavailable), h.close())
	}
	if err := h.tell(address{URL: s.ClientURL(), Token: token, PID: os.Getpid(), Relaxed: c.Relaxed}); err != nil {
		return nil, errors.Join(fmt.Errorf("nats: embedded: %w: %w", port.ErrUnavailable, err), h.close())
	}
	return c.open(ctx, h, s.ClientURL(), token)
}

// tell writes where the server is, so that another process of this user can join it.
func (h *host) tell(a address) error {
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	part := filepath.Join(h.dir, addressFile+".part")
	if err := os.WriteFile(part, text, 0o600); err != nil {
		return err
	}
	return os.Rename(part, filepath.Join(h.dir, addressFile))
}

// join opens the namespace on the server that another process has started for the directory.
func (c EmbeddedConfig) join(ctx context.Context) (*Backend, error) {
	text, err := os.ReadFile(filepath.Join(c.Dir, addressFile))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", port.ErrUnavailable, err)
	}
	var a address
	if err := json.Unmarshal(text, &a); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", addressFile, port.ErrUnavailable, err)
	}
	return c.open(ctx, &host{relaxed: a.Relaxed}, a.URL, a.Token)
}

func (c EmbeddedConfig) open(ctx context.Context, h *host, url, token string) (*Backend, error) {
	conf := c.config()
	conf.URL = url
	b := newBackend(ctx, conf)
	b.host, b.own = h, true
	b.where = "embedded in " + c.Dir
	o, err := conf.options(b)
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	if b.conn, err = client.Connect(url, append(o, client.Token(token))...); err != nil {
		return nil, errors.Join(fmt.Errorf("nats: %s: %w: %w", b.where, port.ErrUnavailable, err), b.Close())
	}
	return b.start(ctx)
}

// close ends the server that was started here, and gives the directory free.
func (h *host) close() error {
	if h == nil || h.lock == nil {
		return nil
	}
	if h.server != nil {
		h.server.Shutdown()
		h.server.WaitForShutdown()
		h.run.Wait()
	}
	err := os.Remove(filepath.Join(h.dir, addressFile))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	err = errors.Join(err, h.lock.Close())
	h.lock = nil
	if err != nil {
		return fmt.Errorf("nats: close: %w", err)
	}
	return nil
}
