//go:build unix && !linux

package testserver

import "syscall"

// dieWithParent does nothing here: only Linux can be asked. Servers end with their test, unless that is killed.
func dieWithParent(*syscall.SysProcAttr) {}

// children knows of none here: a signal reaches the first process alone.
func children(int) []int { return nil }

// awaitDeath has nobody to wait for, as children finds none.
func awaitDeath(int) error { return nil }
