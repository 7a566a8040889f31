//go:build unix

package main

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/musterhq/muster/internal/testserver"
)

func TestARefusalOfTheServerSaysWhatToDoAndLosesNothing(t *testing.T) {
	master := testserver.Redis(t, testserver.RedisConfig{})
	t.Setenv(envBackend, master.URL())
	c := &cli{t: t, server: master}
	replica := testserver.Redis(t, testserver.RedisConfig{ReplicaOf: master})
	c.ok("publish", "orders", "1")
	c.refused(exitUnavailable, "connect to the master", "publish", "orders", "2", "--backend", replica.URL())

	full := testserver.Redis(t, testserver.RedisConfig{MaxMemory: "4mb"})
	t.Setenv(envBackend, full.URL())
	line := strings.Repeat("x", 10<<10) + "\n"
	status, out, errs := c.do(strings.Repeat(line, 1000), "publish", "orders", "--lines")
	kept := len(strings.Fields(out))
	if status != exitUnavailable || !strings.Contains(errs, "raise maxmemory") || !strings.Contains(errs, fmt.Sprintf("after %d were published", kept)) {
		t.Errorf("a full memory: status %d: %s", status, errs)
	}
	if got := c.tail("orders"); kept == 0 || len(got) != kept {
		t.Errorf("%d ids were printed, %d messages are there", kept, len(got))
	}

	t.Setenv(envBackend, c.server.URL())
	conn, err := net.Dial("tcp", c.server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprint(conn, "SET muster:log:{orders} strange\r\n"); err != nil {
		t.Fatal(err)
	}
	if answer, err := bufio.NewReader(conn).ReadString('\n'); err != nil || answer != "+OK\r\n" {
		t.Fatal(answer, err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	c.refused(exitError, "delete it, or use another namespace", "publish", "orders", "2")
}
