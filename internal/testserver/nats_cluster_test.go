//go:build unix

package testserver_test

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/musterhq/muster/internal/testserver"
)

// natsServer builds the server of the module that the adapter on NATS requires.
func natsServer(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "nats-server")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", path, "github.com/nats-io/nats-server/v2")
	build.Dir = filepath.Join("..", "..", "adapter", "nats")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build of the server: %v\n%s", err, said)
	}
	return path
}

func TestAClusterOfNATSIsWholeAgainWhenAServerComesBack(t *testing.T) {
	k := testserver.NewNATSCluster(t, natsServer(t))
	first := k.Nodes[0]
	addr := first.Addr()
	first.Kill()
	if first.Pid() != 0 {
		t.Errorf("a killed server has process %d", first.Pid())
	}
	first.Restart()
	k.AwaitWhole()
	k.Nodes[1].Pause()
	k.Nodes[1].Resume()
	k.AwaitWhole()
	if first.Addr() != addr || first.Pid() == 0 {
		t.Errorf("the server that came back has process %d and address %s, want %s", first.Pid(), first.Addr(), addr)
	}
}
