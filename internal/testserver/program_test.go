//go:build unix

package testserver

import (
	"context"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
)

func TestAProgramIsAServerLikeAnyOther(t *testing.T) {
	path := serverBinary(t, "redis-server", "/usr/bin/redis-server", "/usr/local/bin/redis-server")
	commands := 0
	s := Run(t, Program{
		Name: "own",
		Command: func(dir string, port int) *exec.Cmd {
			commands++
			cmd := exec.Command("sh", "-c", `exec "$SERVER" --bind 127.0.0.1 --save "" --port "$0" --dir "$1"`, strconv.Itoa(port), dir)
			cmd.Env = append(os.Environ(), "SERVER="+path)
			return cmd
		},
		Ready: func(ctx context.Context, addr string, pid int) error { return redis{}.ready(ctx, addr, "", pid) },
		URL:   func(addr string) string { return "own://" + addr },
	})
	addr, pid := s.Addr(), s.Pid()
	if s.URL() != "own://"+addr {
		t.Errorf("the URL is %s", s.URL())
	}
	s.Kill()
	if conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr); err == nil {
		t.Errorf("it answers when it was killed: %v", conn.Close())
	}
	s.Restart()
	if s.Addr() != addr || s.Pid() == pid || commands != 2 {
		t.Errorf("restarted at %s, process %d after %d, %d commands", s.Addr(), s.Pid(), pid, commands)
	}
	s.Stop()
	if s.Pid() != 0 {
		t.Error("it runs on when it was asked to end")
	}
}
