//go:build unix

package testserver_test

import (
	"net"
	"testing"

	"github.com/musterhq/muster/internal/testserver"
)

// Ports that the system chooses, for listeners and for connections, are none that a server of a test has.
func TestAPortIsNoneThatTheSystemGivesAway(t *testing.T) {
	lowest := 1 << 16
	for range 200 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
		lowest = min(lowest, l.Addr().(*net.TCPAddr).Port)
	}
	for range 1000 {
		if port := testserver.FreePort(t); port >= lowest {
			t.Fatalf("port %d is given for a server, and the system gives ports from %d on", port, lowest)
		}
	}
}
