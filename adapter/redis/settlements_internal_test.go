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
	s.wait(t.Context(), nil, &other)
	earlier()
	if len(s.of) != 1 {
		t.Error("the end of an earlier settlement is taken for that of the latest")
	}
	waited := make(chan struct{})
	go func() {
		s.wait(t.Context(), nil, &g)
		close(waited)
	}()
	s.wait(ended, nil, &g) // nobody waits for longer than his ctx, or than the backend is open
	s.wait(t.Context(), ended.Done(), &g)
	later()
	<-waited
	if len(s.of) > 0 {
		t.Errorf("%d settlements that are over are kept", len(s.of))
	}
}
