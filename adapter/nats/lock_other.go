//go:build !unix

package nats

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/musterhq/muster/port"
)

var errLocked = errors.New("locked by another process")

// lockDir answers ErrUnsupported: there is no lock here that ends with its process.
func lockDir(string) (*os.File, error) {
	return nil, fmt.Errorf("an embedded server is not supported on %s: %w", runtime.GOOS, port.ErrUnsupported)
}
