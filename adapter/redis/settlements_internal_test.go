package redis

import (
	"context"
	"testing"

	"github.com/musterhq/muster/port"
)

func TestAFetchWaitsForTheLatestSettlementOfItsGroupAlone(t *testing.T) {
	s := settlements{of: map[[2]string]chan struct{}{}}
	g, other := port.Group{Topic: "orders", Name: "g"}, port.Group{Topic: "orders", Name: "other"}
	ended, end := context.WithCancel(t.Context())
	end()
	earlier, later := s.begin(&g), s.begin(&g)
	s.wait(t.Context(), &other)
	earlier()
	if len(s.of) != 1 {
		t.Error("the end of an earlier settlement is taken for that of the latest")
	}
	waited := make(chan struct{})
	go func() {
		s.wait(t.Context(), &g)
		close(waited)
	}()
	s.wait(ended, &g) // nobody waits for longer than his ctx
	later()
	<-waited
	if len(s.of) > 0 {
		t.Errorf("%d settlements that are over are kept", len(s.of))
	}
}
