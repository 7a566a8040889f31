package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	client "github.com/nats-io/nats.go"
)

// serverVariable makes this program a nats-server: whether every write is synced, the port, and the folder.
const serverVariable = "MUSTER_BENCH_NATS_SERVER"

// place is a server of its own for one slice, in this process or in another.
type place struct {
	dir string
	url string
	in  *server.Server // in this process
	out *exec.Cmd      // or in another
}

// serve is a nats-server until it is killed.
func serve(text string) error {
	var synced bool
	var port int
	var dir string
	if _, err := fmt.Sscanf(text, "%t %d %s", &synced, &port, &dir); err != nil {
		return fmt.Errorf("%s=%q: %w", serverVariable, text, err)
	}
	s, err := server.NewServer(settings(synced, port, dir))
	if err != nil {
		return err
	}
	s.Start()
	s.WaitForShutdown()
	return nil
}

func settings(synced bool, port int, dir string) *server.Options {
	return &server.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir, SyncAlways: synced, NoSigs: true, NoLog: true}
}

// newPlace returns when JetStream answers. Where apart, the server is another process.
func newPlace(ctx context.Context, apart, synced bool) (p *place, err error) {
	p = &place{}
	if p.dir, err = os.MkdirTemp("", "muster-bench-nats-*"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	if !apart {
		if p.in, err = server.NewServer(settings(synced, -1, p.dir)); err != nil {
			return p, err
		}
		p.in.Start()
		if !p.in.ReadyForConnections(time.Minute) {
			return p, errors.New("the server is not ready within a minute")
		}
		p.url = p.in.ClientURL()
		return p, p.answers(ctx)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return p, err
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		return p, err
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return p, err
	}
	self, err := os.Executable()
	if err != nil {
		return p, err
	}
	out := exec.Command(self)
	out.Env = append(os.Environ(), fmt.Sprintf("%s=%t %s %s", serverVariable, synced, port, p.dir))
	if err := out.Start(); err != nil {
		return p, err
	}
	p.out, p.url = out, "nats://"+addr
	return p, p.answers(ctx)
}

func (p *place) answers(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	for {
		err := p.ask()
		if err == nil {
			return nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("JetStream at %s does not answer: %w", p.url, err)
		}
	}
}

func (p *place) ask() error {
	c, err := client.Connect(p.url, client.Timeout(time.Second))
	if err != nil {
		return err
	}
	defer c.Close()
	m, err := c.Request("$JS.API.INFO", nil, time.Second)
	if err == nil && m.Header.Get("Status") != "" {
		err = errors.New("it is not ready")
	}
	return err
}

func (p *place) close() error {
	var err error
	if p.in != nil {
		p.in.Shutdown()
		p.in.WaitForShutdown()
	}
	if p.out != nil {
		err = p.out.Process.Kill()
		_ = p.out.Wait() // tells that it was killed
	}
	return errors.Join(err, os.RemoveAll(p.dir))
}
