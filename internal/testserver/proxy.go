//go:build unix

package testserver

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Proxy passes TCP connections on to a server and breaks them when it is told to. Its methods take effect at once, for the
// connections that there are and for new ones, and are safe for concurrent use.
type Proxy struct {
	t      testing.TB
	target atomic.Pointer[string]
	addr   string
	wg     sync.WaitGroup

	mu      sync.Mutex
	listen  net.Listener // nil: cut
	links   map[*link]bool
	faults  faults
	changed chan struct{} // closed and replaced when faults change
}

// faults is what happens to the bytes. A direction that is held keeps them and delivers them later, in order, as TCP does
// when a network comes back.
type faults struct {
	holdUp, holdDown bool // towards the server, towards the client
	delay            time.Duration
}

// link is one connection through the proxy.
type link struct {
	client, server net.Conn
	gone           chan struct{} // closed when it is taken out of the proxy: what is held waits no longer
}

// NewProxy starts a proxy for the server at target (host:port) that ends with the test.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	addr, free, err := reserve()
	if err != nil {
		t.Fatalf("testserver: proxy for %s: %v", target, err)
	}
	p := &Proxy{t: t, addr: addr, links: map[*link]bool{}, changed: make(chan struct{})}
	p.aim(target)
	p.Restore()
	t.Cleanup(func() {
		p.Cut()
		p.wg.Wait()
		if err := free(); err != nil {
			t.Errorf("testserver: proxy for %s: %v", target, err)
		}
	})
	return p
}

// Addr returns host:port for the client. It stays the same.
func (p *Proxy) Addr() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.addr
}

// BlackHole lets nothing through in either direction, and says nothing about it.
func (p *Proxy) BlackHole() { p.set(faults{holdUp: true, holdDown: true}) }

// BlackHoleUp lets nothing through to the server: requests do not arrive.
func (p *Proxy) BlackHoleUp() { p.set(faults{holdUp: true}) }

// BlackHoleDown lets nothing through to the client: requests arrive and are carried out, answers get lost.
func (p *Proxy) BlackHoleDown() { p.set(faults{holdDown: true}) }

// Slow delays every read of up to 32 KiB by d, in each direction.
func (p *Proxy) Slow(d time.Duration) { p.set(faults{delay: d}) }

// Reset resets the connections that there are (RST), with the bytes that are held. New ones get through as before.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reset()
}

// Cut resets the connections that there are and refuses new ones.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listen != nil {
		if err := deafen(p.listen); err != nil {
			p.t.Errorf("testserver: proxy for %s: %v", p.to(), err)
		}
		p.close(p.listen)
		p.listen = nil
	}
	p.reset()
}

// Restore ends every fault: what was held is delivered, and new connections are accepted.
func (p *Proxy) Restore() {
	p.t.Helper()
	p.set(faults{})
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listen != nil {
		return
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", p.addr)
	if err != nil {
		p.t.Errorf("testserver: proxy for %s: %v", p.to(), err)
		return
	}
	p.listen, p.addr = l, l.Addr().String()
	p.wg.Go(func() { p.accept(l) })
}

// aim has new connections passed on to another server.
func (p *Proxy) aim(target string) { p.target.Store(&target) }

func (p *Proxy) to() string { return *p.target.Load() }

func (p *Proxy) set(f faults) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = f
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Proxy) accept(l net.Listener) {
	for {
		client, err := l.Accept()
		if err != nil {
			return // cut
		}
		p.wg.Go(func() { p.serve(client, l) })
	}
}

// serve passes one connection on until either side ends it.
func (p *Proxy) serve(client net.Conn, l net.Listener) {
	server, err := new(net.Dialer).DialContext(context.Background(), "tcp", p.to())
	if err != nil {
		p.abort(client) // the client sees what the proxy saw: nobody there
		return
	}
	k := &link{client: client, server: server, gone: make(chan struct{})}
	p.mu.Lock()
	late := p.listen != l // cut in the meantime
	if !late {
		p.links[k] = true
	}
	p.mu.Unlock()
	if late {
		p.abort(k.client)
		p.abort(k.server)
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		defer p.end(k)
		p.pass(k.server, k.client, k.gone, func(f faults) bool { return f.holdUp })
	})
	wg.Go(func() {
		defer p.end(k)
		p.pass(k.client, k.server, k.gone, func(f faults) bool { return f.holdDown })
	})
	wg.Wait()
}

// pass copies one direction under the faults of the moment. It ends with either connection, however that comes to pass.
func (p *Proxy) pass(to io.Writer, from io.Reader, gone <-chan struct{}, held func(faults) bool) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if !p.admit(gone, held) {
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// admit waits until bytes may pass, and reports false if the connection is gone before.
func (p *Proxy) admit(gone <-chan struct{}, held func(faults) bool) bool {
	for delayed := false; ; {
		p.mu.Lock()
		f, changed := p.faults, p.changed
		p.mu.Unlock()
		var after <-chan time.Time
		switch {
		case held(f):
		case f.delay > 0 && !delayed:
			after = time.After(f.delay)
		default:
			return true
		}
		select {
		case <-after:
			delayed = true
		case <-changed:
		case <-gone:
			return false
		}
	}
}

// end closes both sides of a connection when one of them has ended.
func (p *Proxy) end(k *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.take(k) {
		p.close(k.client)
		p.close(k.server)
	}
}

// reset is called with p.mu held.
func (p *Proxy) reset() {
	for k := range p.links {
		p.take(k)
		p.abort(k.client)
		p.abort(k.server)
	}
}

// take is called with p.mu held, and reports whether the connection was still there: who takes it out closes it.
func (p *Proxy) take(k *link) bool {
	if !p.links[k] {
		return false
	}
	delete(p.links, k)
	close(k.gone)
	return true
}

// abort closes a connection with RST instead of FIN.
func (p *Proxy) abort(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		if err := tcp.SetLinger(0); err != nil && !errors.Is(err, net.ErrClosed) {
			p.t.Errorf("testserver: proxy for %s: %v", p.to(), err)
		}
	}
	p.close(c)
}

func (p *Proxy) close(c io.Closer) {
	if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		p.t.Errorf("testserver: proxy for %s: %v", p.to(), err)
	}
}
