package testserver_test

import (
	"net"
	"testing"
)

// While a proxy is cut, nobody else's connection may be given its port: it could not be restored.
func TestACutProxyKeepsItsPort(t *testing.T) {
	s, p, _, _ := throughProxy(t)
	p.Cut()
	own, err := net.ResolveTCPAddr("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if c, err := (&net.Dialer{LocalAddr: own}).Dial("tcp", s.Addr()); err == nil {
		t.Errorf("a connection comes from %s, which is the cut proxy's: %v", own, c.Close())
	}
	p.Restore()
	dial(t, p.Addr()).want("PING", "+PONG")
}
