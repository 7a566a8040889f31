//go:build unix

package faults_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// cut says what happens at the request that a tap is told to cut at.
type cut struct {
	at    int  // the number of the request, from 1; 0: none
	after bool // the server gets it and carries it out, and its answer is lost; false: it does not get there either
	dead  bool // this was the end of the client: nothing of it gets through any more, over no connection
	kill  bool // the server is killed then, and restarted
}

// tap stands between a client and a Redis server, reads what the client asks, and cuts the connection at one request.
type tap struct {
	t      *testing.T
	target string
	listen net.Listener
	wg     sync.WaitGroup

	mu       sync.Mutex
	cut      cut
	requests []string // the commands that came, over all connections
	dead     bool
	done     chan struct{} // closed when it was cut
	links    map[net.Conn]bool
}

func newTap(t *testing.T, target string, c cut) *tap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{t: t, target: target, listen: l, cut: c, done: make(chan struct{}), links: map[net.Conn]bool{}}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		p.close(l)
		p.kill()
		p.wg.Wait()
	})
	return p
}

func (p *tap) url() string { return "redis://" + p.listen.Addr().String() }

// seen are the requests that came so far.
func (p *tap) seen() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests
}

func (p *tap) isCut() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *tap) accept() {
	for {
		c, err := p.listen.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.serve(c.(*net.TCPConn)) })
	}
}

// kill ends every connection, and takes no more.
func (p *tap) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = true
	for c := range p.links {
		p.close(c)
	}
}

// enter notes a connection, or closes it if the client is dead.
func (p *tap) enter(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		p.close(c)
		return false
	}
	p.links[c] = true
	return true
}

func (p *tap) leave(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, c)
	p.close(c)
}

// close closes c, which may be closed already.
func (p *tap) close(c io.Closer) {
	if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		p.t.Errorf("tap: %v", err)
	}
}

func (p *tap) serve(client *net.TCPConn) {
	if !p.enter(client) {
		return
	}
	defer p.leave(client)
	c, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	server := c.(*net.TCPConn)
	defer p.close(server)

	var silent atomic.Bool // no answer gets through any more
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		defer p.close(client)
		buf := make([]byte, 32<<10)
		for {
			n, err := server.Read(buf)
			if n > 0 && !silent.Load() {
				if _, err := client.Write(buf[:n]); err != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	defer func() { <-answered }()
	defer p.close(server)

	in := bufio.NewReaderSize(client, 64<<10)
	for {
		raw, command, err := request(in)
		if err != nil {
			return
		}
		mine, c := p.note(command)
		if !mine {
			if _, err := server.Write(raw); err != nil {
				return
			}
			continue
		}
		silent.Store(true)
		if c.after {
			p.carryOut(server, raw)
			<-answered
		}
		if c.dead {
			p.kill()
		}
		close(p.done)
		return
	}
}

// note counts a request, and reports whether this is where to cut.
func (p *tap) note(command string) (bool, cut) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = append(p.requests, command)
	return len(p.requests) == p.cut.at, p.cut
}

// carryOut sends a request, and the end of the stream behind it. When the server ends its side as well, it has read and carried out
// all that came before.
func (p *tap) carryOut(server *net.TCPConn, raw []byte) {
	if _, err := server.Write(raw); err != nil {
		p.t.Errorf("tap: %v", err)
		return
	}
	if err := server.CloseWrite(); err != nil {
		p.t.Errorf("tap: %v", err)
	}
}

// request reads one command of a client: an array of bulk strings.
func request(in *bufio.Reader) (raw []byte, command string, err error) {
	var b bytes.Buffer
	number := func(sign byte) (int, error) {
		line, err := in.ReadString('\n')
		if err != nil {
			return 0, err
		}
		b.WriteString(line)
		if line[0] != sign {
			return 0, fmt.Errorf("tap: %q is no request", line)
		}
		return strconv.Atoi(strings.TrimSpace(line[1:]))
	}
	words, err := number('*')
	for i := 0; i < words && err == nil; i++ {
		var n int
		if n, err = number('$'); err != nil {
			break
		}
		word := make([]byte, n+2)
		if _, err = io.ReadFull(in, word); err != nil {
			break
		}
		b.Write(word)
		if i == 0 {
			command = strings.ToUpper(string(word[:n]))
		}
	}
	return b.Bytes(), command, err
}
