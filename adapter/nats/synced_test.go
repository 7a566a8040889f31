//go:build unix

package nats

import (
	"testing"

	"github.com/musterhq/muster/port"
)

// What Caps promise of the embedded server is what that server was told to do.
func TestTheEmbeddedServerSyncsWhatItPromisesToSync(t *testing.T) {
	for _, relaxed := range []bool{false, true} {
		b, err := Embedded(t.Context(), EmbeddedConfig{Dir: t.TempDir(), Relaxed: relaxed})
		if err != nil {
			t.Fatal(err)
		}
		always := b.host.server.JetStreamConfig().SyncAlways
		if machine := b.Caps().Durable == port.DurableMachine; always == relaxed || machine != always {
			t.Errorf("relaxed %v: the server syncs every write: %v, and Caps promise a power cut: %v", relaxed, always, machine)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}
