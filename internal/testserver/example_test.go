//go:build unix

package testserver_test

import (
	"fmt"
	"testing"

	"github.com/musterhq/muster/internal/testserver"
)

func Example() {
	test := func(t *testing.T) {
		server := testserver.Redis(t, testserver.RedisConfig{Password: "secret"})
		proxy := testserver.NewProxy(t, server.Addr())
		// ... a client writes through proxy.Addr() ...
		proxy.BlackHoleDown() // what it writes is done, and it does not hear of it
		server.Kill()
		server.Restart()
		proxy.Restore()
	}
	fmt.Printf("%T\n", test)
	// Output: func(*testing.T)
}
