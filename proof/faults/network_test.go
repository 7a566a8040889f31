//go:build unix

package faults_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/musterhq/muster/internal/testserver"
)

// Every fault strikes while workers and a producer are at it through one proxy. It lasts, ends, and strikes again. The observer goes
// straight to the server.
func TestNothingIsLostOrDoubledByAConnectionThatFails(t *testing.T) {
	t.Parallel()
	const (
		blink = answer / 2
		gap   = 3 * loan // far longer than clients wait for an answer, and than loans last
	)
	for _, c := range []struct {
		name  string
		lasts time.Duration
		fault func(p *testserver.Proxy)
	}{
		{"connections are reset", 0, (*testserver.Proxy).Reset},
		{"connections are cut, and refused for a moment", blink, (*testserver.Proxy).Cut},
		{"connections are cut, and refused for longer than a loan", gap, (*testserver.Proxy).Cut},
		{"nothing gets through for a moment, either way", blink, (*testserver.Proxy).BlackHole},
		{"nothing gets through for longer than a loan, either way", gap, (*testserver.Proxy).BlackHole},
		{"requests do not arrive", gap, (*testserver.Proxy).BlackHoleUp},
		{"answers do not arrive", gap, (*testserver.Proxy).BlackHoleDown},
		{"answers do not arrive, and then the connections are reset", blink, func(p *testserver.Proxy) { p.BlackHoleDown(); time.AfterFunc(blink/2, p.Reset) }},
		{"everything is slow", gap, func(p *testserver.Proxy) { p.Slow(20 * time.Millisecond) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, s *shop) {
				proxy := testserver.NewProxy(t, s.server.Addr())
				s.strike(proxy, func() {
					c.fault(proxy)
					lasting(t, c.lasts)
					proxy.Restore()
				})
			})
		})
	}
}

func TestNothingIsLostOrDoubledWhenScriptsAreFlushedAndClientsAreKilled(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		command []string
	}{
		{"script flush", []string{"SCRIPT", "FLUSH"}},
		{"every client is killed", []string{"CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"}},
		{"every subscription is killed", []string{"CLIENT", "KILL", "TYPE", "pubsub", "SKIPME", "yes"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, testserver.RedisConfig{})
			s.strike(testserver.NewProxy(t, s.server.Addr()), func() { s.admin(c.command...) })
		})
	}
}

// through is the URL of the server by way of a proxy.
func (s *shop) through(p *testserver.Proxy) string {
	return strings.Replace(s.server.URL(), s.server.Addr(), p.Addr(), 1)
}

// strike lets a fault strike some times under load, and demands that every order took effect once.
func (s *shop) strike(proxy *testserver.Proxy, fault func()) {
	s.t.Helper()
	strikes, between := scale(2, 10), scale(100, 500)
	url := s.through(proxy)
	p := s.produce(s.open(url), 0)
	j := s.job()
	j.URL = url
	s.fleet(2, j)
	var recovered times
	for range strikes {
		from := s.ends()
		until(s.t, "the work goes on", func() bool { return s.ends() >= from+between })
		fault()
		recovered = append(recovered, s.recovery(p))
	}
	s.end(p, true)
	n := s.settle()
	s.t.Logf("%d times; it goes on after %v; what was there before is through after %v; %v", strikes, recovered, s.backlog(), n)
	n.whole(s.t)
}

// admin sends one command over a connection of its own.
func (s *shop) admin(command ...string) rueidis.RedisMessage {
	s.t.Helper()
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{s.site.master().Addr()}, ForceSingleClient: true, DisableCache: true, ClientName: "admin"})
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	m, err := c.Do(s.t.Context(), c.B().Arbitrary(command...).Build()).ToMessage()
	if err != nil {
		s.t.Fatal(fmt.Errorf("%v: %w", command, err))
	}
	return m
}
