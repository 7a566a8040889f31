package testserver

import (
	"errors"
	"net"
	"syscall"
	"testing"
)

// A process that is being started holds a copy of every socket for a moment.
func TestACutProxyRefusesAndIsRestoredWhoeverElseHoldsItsSocket(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	p := NewProxy(t, server.Addr().String())
	other, err := p.listen.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	p.Cut()
	if conn, err := net.Dial("tcp", p.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("dialling gives %v, %v; want a refusal", conn, err)
	}
	p.Restore()
	conn, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
}
