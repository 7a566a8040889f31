package delivery

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/musterhq/muster/flow"
	"github.com/musterhq/muster/port"
)

func TestEveryEntryOfAHistoryIsNews(t *testing.T) {
	begun := time.Unix(1000, 0)
	for event, want := range map[flow.Event]State{
		flow.Started: Queued, flow.Begun: Begun, flow.Erred: Again, flow.Done: Done, flow.WentBack: Back, flow.Buried: Failed, flow.Ceased: Other, flow.Left: Other,
	} {
		r := flow.Record{Event: event, Phase: "code", Reason: "because", At: begun.Add(time.Minute), Notes: map[string]json.RawMessage{noteKey: []byte(`{"phase": "code", "detail": "d"}`)}}
		news, err := recordOf(r, begun)
		if err != nil || news.State != want || news.Elapsed != time.Minute || news.Entry.Detail != "d" || news.Detail == "" {
			t.Errorf("%s: %+v, %v", event, news, err)
		}
	}
	_, err := recordOf(flow.Record{Notes: map[string]json.RawMessage{noteKey: []byte(`7`)}}, begun)
	if !errors.Is(err, port.ErrInvalid) {
		t.Errorf("a note that is none: %v", err)
	}
}
