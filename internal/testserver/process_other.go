//go:build unix && !linux

package testserver

import (
	"net"
	"syscall"
)

// dieWithParent does nothing here: only Linux can be asked. Servers end with their test, unless that is killed.
func dieWithParent(*syscall.SysProcAttr) {}

// children knows of none here: a signal reaches the first process alone.
func children(int) []int { return nil }

// awaitDeath has nobody to wait for, as children finds none.
func awaitDeath(int) error { return nil }

// reserve leaves the choice to who listens first: only Linux lets a port be kept beside it.
func reserve() (addr string, free func() error, err error) {
	return "127.0.0.1:0", func() error { return nil }, nil
}

// deafen leaves it to the closing: only Linux lets a listening socket be shut down.
func deafen(net.Listener) error { return nil }
