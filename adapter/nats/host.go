package nats

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// The files of a data directory.
const (
	lockFile    = "lock"        // whoever has it locked runs the server
	addressFile = "server.json" // where that is; not there while it begins or ends
	storeFolder = "store"       // what the server keeps
)

// address is what a process with the server tells others about it, in a file that only this user can read.
type address struct {
	URL     string `json:"url"`
	Token   string `json:"token"`
	PID     int    `json:"pid"`
	Relaxed bool   `json:"relaxed"`
}

// host is the way to the server of a data directory, whichever process runs that: the connection is dialed through it, again after
// each loss. Whoever dials and finds the directory free runs the server from then on.
//
// A process dies at any point: its lock is gone with it, the next one to dial starts the server on the same store. It ends in good order:
// close takes the address away first, so that who comes now waits for the lock, and then gives those who are there time to
// end. The address of a dead server leads nowhere: its file is removed by the next one before the server starts, and a token
// is good for one server.
type host struct {
	conf    EmbeddedConfig
	relaxed bool // what is promised here is no more than that; constant after open

	mu     sync.Mutex
	served bool // this process had the server once
	server *server.Server
	run    sync.WaitGroup
	lock   *os.File
	at     address // of the server that was reached last
	closed bool
}

// errAway says that another process has the directory, and that its server cannot be reached now.
var errAway = errors.New("another process has it")

// synced reports whether every write is on the disk before it is acknowledged, as far as is known.
func (h *host) synced() bool { return h != nil && !h.relaxed }

// mine reports whether this process had the server once.
func (h *host) mine() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.served
}

// away is err for a directory that another process has.
func (h *host) away(err error) error {
	return fmt.Errorf("%w, and its server cannot be joined (%w): end the process that has %s open, or give another directory",
		errAway, err, filepath.Join(h.conf.Dir, lockFile))
}

// reach finds the server, or starts it.
func (h *host) reach() (address, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return address{}, errors.New("it was closed")
	}
	if h.server != nil {
		return h.at, nil
	}
	lock, err := lockDir(h.conf.Dir)
	if err == nil {
		h.lock = lock
		return h.at, h.serve()
	}
	if !errors.Is(err, errLocked) {
		return address{}, fmt.Errorf("the directory %s cannot be locked; give one that can be written: %w", h.conf.Dir, err)
	}
	text, err := os.ReadFile(filepath.Join(h.conf.Dir, addressFile))
	if err != nil {
		return address{}, h.away(err)
	}
	var a address
	if err := json.Unmarshal(text, &a); err != nil {
		return address{}, h.away(fmt.Errorf("%s: %w", addressFile, err))
	}
	if a.Relaxed && !h.relaxed {
		return address{}, fmt.Errorf("process %d has %s open Relaxed, and a write here shall survive a power cut: end that process, or open it Relaxed here too", a.PID, h.conf.Dir)
	}
	if h.at.URL == "" {
		h.relaxed = a.Relaxed // as long as this is open, it is never less
	}
	h.at = a
	return a, nil
}

// serve starts the server of a directory that this process has locked. The caller holds the mutex.
func (h *host) serve() error {
	err := h.start()
	if err != nil {
		err = errors.Join(err, h.end())
	}
	return err
}

func (h *host) start() error {
	if err := h.hide(); err != nil {
		return err
	}
	a := address{Token: rand.Text(), PID: os.Getpid(), Relaxed: h.relaxed}
	s, err := server.NewServer(&server.Options{
		ServerName:    "muster",
		Host:          "127.0.0.1",
		Port:          server.RANDOM_PORT,
		Authorization: a.Token,
		JetStream:     true,
		StoreDir:      filepath.Join(h.conf.Dir, storeFolder),
		SyncAlways:    !h.relaxed,
		MaxPayload:    int32(h.conf.payload()),
		NoLog:         true,
		NoSigs:        true,
	})
	if err != nil {
		return fmt.Errorf("the server in %s cannot be made: %w", h.conf.Dir, err)
	}
	h.server, h.served = s, true
	heard := &fatal{said: make(chan string, 1)}
	s.SetLoggerV2(heard, false, false, false)
	h.run.Go(s.Start)
	most := h.conf.config().timeout()
	for end := time.Now().Add(most); !s.ReadyForConnections(5 * time.Millisecond); {
		select {
		case why := <-heard.said:
			return fmt.Errorf("the server in %s does not start; see that the directory can be written and has room: %s", h.conf.Dir, why)
		default:
		}
		if time.Now().After(end) {
			return fmt.Errorf("the server in %s is not ready within %v", h.conf.Dir, most)
		}
	}
	a.URL = s.ClientURL()
	h.at = a
	return h.tell(a)
}

// tell writes where the server is, so that another process of this user can join it.
func (h *host) tell(a address) error {
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	part := filepath.Join(h.conf.Dir, addressFile+".part")
	if err := os.WriteFile(part, text, 0o600); err != nil {
		return err
	}
	return os.Rename(part, filepath.Join(h.conf.Dir, addressFile))
}

// hide takes away where the server is: who comes now waits until the directory is free.
func (h *host) hide() error {
	err := os.Remove(filepath.Join(h.conf.Dir, addressFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Dial connects to the server wherever it is.
func (h *host) Dial(network, _ string) (net.Conn, error) {
	a, err := h.reach()
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(a.URL)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: h.conf.config().timeout()}
	return d.DialContext(context.Background(), network, u.Host) // the client's dialer is given no context
}

// token is that of the server that was dialed last.
func (h *host) token() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.at.Token
}

// delay is how long is waited before the server is dialed again.
func (h *host) delay(attempts int) time.Duration {
	return min(time.Duration(attempts)*10*time.Millisecond, 200*time.Millisecond)
}

// close gives the directory free, when the connection of this process is closed. Where the server runs here and others have joined
// it, they get the time of Linger to end.
func (h *host) close() error {
	if h == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	if h.server == nil {
		return nil
	}
	err := h.hide()
	for end := time.Now().Add(h.conf.linger()); h.server.NumClients() > 0 && time.Now().Before(end); {
		<-time.After(2 * time.Millisecond)
	}
	if err = errors.Join(err, h.end()); err != nil {
		return fmt.Errorf("nats: close: %w", err)
	}
	return nil
}

// end ends the server and gives the directory free. The caller holds the mutex.
func (h *host) end() error {
	if h.server != nil {
		h.server.Shutdown()
		h.server.WaitForShutdown()
		h.run.Wait()
		h.server = nil
	}
	err := h.lock.Close()
	h.lock = nil
	return err
}

// fatal is the log of a server, of which only the reason that it does not start is kept.
type fatal struct{ said chan string }

// Fatalf keeps the first reason.
func (f *fatal) Fatalf(format string, v ...any) {
	select {
	case f.said <- fmt.Sprintf(format, v...):
	default:
	}
}

// Noticef drops what it is told, as the others do: what the server does is asked of it.
func (f *fatal) Noticef(string, ...any) {}
func (f *fatal) Warnf(string, ...any)   {}
func (f *fatal) Errorf(string, ...any)  {}
func (f *fatal) Debugf(string, ...any)  {}
func (f *fatal) Tracef(string, ...any)  {}
