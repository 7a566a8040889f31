//go:build unix

package testserver

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// PostgresConfig is how a PostgreSQL server is set up.
type PostgresConfig struct {
	Lines []string // further lines of postgresql.conf, such as "max_connections = 200"; default none
}

// Postgres makes an empty cluster, starts a server on it and returns when it answers. Its superuser is postgres, its database
// postgres, and whoever connects from the loopback is trusted. When the test runs as root, the server runs as the user
// postgres, because it refuses to run as root.
func Postgres(t testing.TB, c PostgresConfig) *Server {
	t.Helper()
	const debian = "/usr/lib/postgresql/*/bin/"
	k := postgres{path: serverBinary(t, "postgres", debian+"postgres")}
	dir, err := os.MkdirTemp("", "muster-postgres-") // t.TempDir lies in a directory that only its owner may enter
	if err != nil {
		t.Fatalf("testserver: %v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("testserver: %v", err)
		}
	})
	if k.as, err = account(); err == nil && k.as != nil {
		err = os.Chown(dir, int(k.as.Uid), int(k.as.Gid))
	}
	if err != nil {
		t.Fatalf("testserver: %v", err)
	}
	initdb := exec.CommandContext(t.Context(), serverBinary(t, "initdb", debian+"initdb"), "--pgdata="+dir, "--username=postgres", "--auth=trust",
		"--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions")
	initdb.Dir = dir
	initdb.SysProcAttr = &syscall.SysProcAttr{Credential: k.as}
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("testserver: initdb: %v\n%s", err, out)
	}
	conf, err := os.OpenFile(filepath.Join(dir, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		// Shutting down waits for whoever has connected and not said who he is: 60 s by default.
		lines := append([]string{"", "authentication_timeout = 5s"}, c.Lines...)
		_, err = io.WriteString(conf, strings.Join(lines, "\n")+"\n")
		err = errors.Join(err, conf.Close())
	}
	if err != nil {
		t.Fatalf("testserver: %v", err)
	}
	return start(t, k, dir)
}

type postgres struct {
	path string
	as   *syscall.Credential // nil: as the test does
}

func (postgres) name() string               { return "postgres" }
func (postgres) stopSignal() syscall.Signal { return syscall.SIGINT } // fast: does not wait for clients

func (p postgres) command(dir string, port int) *exec.Cmd {
	cmd := exec.CommandContext(context.Background(), p.path, "-D", dir, "-p", strconv.Itoa(port), "-h", "127.0.0.1", "-k", "")
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.as}
	return cmd
}

func (postgres) url(addr string) string {
	return "postgres://postgres@" + addr + "/postgres?sslmode=disable"
}

// ready checks that the cluster is served by this process, logs in and waits until the server says that it takes queries.
// The messages are those of https://www.postgresql.org/docs/current/protocol-flow.html.
func (postgres) ready(ctx context.Context, addr, dir string, pid int) (err error) {
	lock, err := os.ReadFile(filepath.Join(dir, "postmaster.pid"))
	if err != nil {
		return err
	}
	if first, _, _ := bytes.Cut(lock, []byte("\n")); string(first) != strconv.Itoa(pid) {
		return fmt.Errorf("the cluster is served by process %s, not %d", first, pid)
	}
	conn, err := dial(ctx, addr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	const protocol3 = 3 << 16
	hello := binary.BigEndian.AppendUint32(make([]byte, 4), protocol3)
	hello = append(hello, "user\x00postgres\x00database\x00postgres\x00\x00"...)
	binary.BigEndian.PutUint32(hello, uint32(len(hello)))
	if _, err := conn.Write(hello); err != nil {
		return err
	}
	for {
		var head [5]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return err
		}
		body := make([]byte, min(max(binary.BigEndian.Uint32(head[1:]), 4)-4, 1<<20))
		if _, err := io.ReadFull(conn, body); err != nil {
			return err
		}
		switch head[0] {
		case 'E':
			return fmt.Errorf("refused: %s", bytes.ReplaceAll(body, []byte{0}, []byte{' '}))
		case 'Z':
			_, err := conn.Write([]byte{'X', 0, 0, 0, 4}) // terminate
			return err
		}
	}
}

// account returns whom the server runs as: the user postgres if this process is root, and nil, which is the same user, if not.
func account() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL does not run as root, and there is no user to run it as: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}
