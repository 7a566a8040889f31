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

	"github.com/musterhq/muster/internal/testserver"
)

// cut says what happens at the request that a tap is told to cut at.
type cut struct {
	at    int  // the number of the request, from 1; 0: none
	after bool // the server gets it and carries it out, and its answer is lost; false: it does not get there either
	dead  bool // this was the end of the client: nothing of it gets through any more, over no connection
	kill  bool // the server is killed then, and restarted
}

// wire is the protocol that a client speaks with a kind of server.
type wire struct {
	name   string
	scheme string
	start  func(t *testing.T, synced bool) server // one that syncs every write, or not before it must
	// request reads one command of a client. What has no name is passed on and not counted.
	request func(in *bufio.Reader) (raw []byte, command string, err error)
	step    string // the command that carries a step
}

var wires = []wire{
	{"Redis", "redis", func(t *testing.T, synced bool) server {
		if synced {
			return testserver.Redis(t, testserver.RedisConfig{})
		}
		return testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"})
	}, redisRequest, "EVALSHA"},
	{"NATS", "nats", func(t *testing.T, synced bool) server { return newNATS(t, synced) }, natsRequest, "HPUB batch"},
}

// tap stands between a client and a server, reads what the client asks, and cuts the connection at one request.
type tap struct {
	t      *testing.T
	wire   wire
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

func newTap(t *testing.T, w wire, target string, c cut) *tap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{t: t, wire: w, target: target, listen: l, cut: c, done: make(chan struct{}), links: map[net.Conn]bool{}}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		p.close(l)
		p.kill()
		p.wg.Wait()
	})
	return p
}

func (p *tap) url() string { return p.wire.scheme + "://" + p.listen.Addr().String() }

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
		raw, command, err := p.wire.request(in)
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
	if command == "" {
		return false, p.cut
	}
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

// redisRequest is an array of bulk strings.
func redisRequest(in *bufio.Reader) (raw []byte, command string, err error) {
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

// natsRequest is a line, and behind that of PUB and HPUB as many bytes as its last word says, and a line break. Only these two are
// counted: an operation in the stream, by the kind of its subject, or a question to JetStream.
func natsRequest(in *bufio.Reader) (raw []byte, command string, err error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return nil, "", err
	}
	words := strings.Fields(line)
	if len(words) < 3 || words[0] != "PUB" && words[0] != "HPUB" {
		return []byte(line), "", nil
	}
	n, err := strconv.Atoi(words[len(words)-1])
	if err != nil {
		return nil, "", fmt.Errorf("tap: %q is no request", line)
	}
	raw = append([]byte(line), make([]byte, n+2)...)
	if _, err := io.ReadFull(in, raw[len(line):]); err != nil {
		return nil, "", err
	}
	switch subject := strings.Split(words[1], "."); {
	case subject[0] == "$JS":
		command = strings.Join(subject[2:len(subject)-1], " ")
	case bytes.Contains(raw, []byte("Nats-Batch-Id")):
		command = words[0] + " batch"
	default:
		command = words[0] + " " + subject[2]
	}
	return raw, command, nil
}
