package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// server is a redis-server of its own, on a port of its own, with its data in a temporary folder. All contenders meet the same one.
type server struct {
	addr  string
	dir   string
	cmd   *exec.Cmd
	admin rueidis.Client
}

// startServer starts it. Fsync is how it keeps an append-only file: always, everysec, no; or off.
func startServer(ctx context.Context, binary, fsync string) (*server, error) {
	dir, err := os.MkdirTemp("", "muster-bench-")
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir}
	for range 5 { // somebody else may take the port in between
		if err = s.start(ctx, binary, fsync); err == nil {
			return s, nil
		}
	}
	return nil, errors.Join(fmt.Errorf("start %s: %w", binary, err), os.RemoveAll(dir))
}

func (s *server) start(ctx context.Context, binary, fsync string) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.addr = l.Addr().String()
	if err := l.Close(); err != nil {
		return err
	}
	_, port, _ := strings.Cut(s.addr, ":")
	lines := []string{"bind 127.0.0.1", "port " + port, "dir " + s.dir, "daemonize no", `save ""`, "logfile " + s.dir + "/log"}
	if fsync != "off" {
		lines = append(lines, "appendonly yes", "appendfsync "+fsync)
	}
	s.cmd = exec.CommandContext(context.WithoutCancel(ctx), binary, "-")
	s.cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if err := s.cmd.Start(); err != nil {
		return err
	}
	for until := time.Now().Add(20 * time.Second); time.Now().Before(until); {
		s.admin, err = rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{s.addr}, ForceSingleClient: true, DisableCache: true})
		if err == nil {
			if id, err := s.info(ctx, "server", "process_id"); err == nil && id == strconv.Itoa(s.cmd.Process.Pid) {
				return nil
			}
			s.admin.Close()
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return errors.Join(fmt.Errorf("it does not answer at %s", s.addr), s.cmd.Process.Kill(), ended(s.cmd.Wait()))
}

// ended is err unless it says that the process was killed.
func ended(err error) error {
	if _, ok := errors.AsType[*exec.ExitError](err); ok {
		return nil
	}
	return err
}

func (s *server) stop() error {
	s.admin.Close()
	return errors.Join(s.cmd.Process.Kill(), ended(s.cmd.Wait()), os.RemoveAll(s.dir))
}

// clear takes everything off the server.
func (s *server) clear(ctx context.Context) error {
	return s.admin.Do(ctx, s.admin.B().Flushall().Sync().Build()).Error()
}

// info is one line of INFO.
func (s *server) info(ctx context.Context, section, name string) (string, error) {
	text, err := s.admin.Do(ctx, s.admin.B().Info().Section(section).Build()).ToString()
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value), nil
		}
	}
	return "", fmt.Errorf("the server does not tell %s", name)
}

// cpu is the processor time that the server has used so far.
func (s *server) cpu() (time.Duration, error) {
	var sum float64
	for _, name := range []string{"used_cpu_user", "used_cpu_sys"} {
		text, err := s.info(context.Background(), "cpu", name)
		if err != nil {
			return 0, err
		}
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return 0, err
		}
		sum += f
	}
	return time.Duration(sum * float64(time.Second)), nil
}
