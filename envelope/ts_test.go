package envelope_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/envelope"
)

// The codec writes and reads the times of its own layout by itself, as package time does.
func TestATimeIsWrittenAndReadAsTheStandardLibraryDoes(t *testing.T) {
	for _, at := range []time.Time{
		time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(999, 12, 31, 23, 59, 59, 999_999_999, time.UTC),
		time.Date(2024, 2, 29, 7, 8, 9, 10, time.UTC),
		time.Date(2026, 11, 24, 4, 3, 2, 120_000_000, time.UTC),
		time.Date(2026, 11, 30, 4, 3, 2, 1_000, time.UTC),
		time.Date(9999, 10, 31, 10, 20, 30, 0, time.UTC),
		time.Date(2026, 1, 1, 1, 0, 0, 0, time.FixedZone("", 2*60*60)),
	} {
		wire, err := envelope.Append(nil, envelope.Meta{ID: "1", Type: "t", At: at}, []byte("1"))
		if err != nil {
			t.Fatal(err)
		}
		if want := `"ts":"` + at.UTC().Format(time.RFC3339Nano) + `"`; !strings.Contains(string(wire), want) {
			t.Errorf("%s lacks %s", wire, want)
		}
		m, _, err := envelope.Parse(wire)
		if err != nil || m.At != at.UTC() {
			t.Errorf("%v was read as %v, %v", at, m.At, err)
		}
	}
	for _, text := range []string{
		"2026-02-29T00:00:00Z", "2026-04-31T00:00:00Z", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-01-00T00:00:00Z",
		"2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z", "2026-01-01T00:00:60Z", "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00.1x3Z",
		"2026-01-01T00:00:0:Z", "2026-01-01T00:00:00,1Z", "2o26-01-01T00:00:00Z",
	} {
		wire := fmt.Sprintf(`{"id":"1","type":"t","ts":%q,"payload":1}`, text)
		if m, _, err := envelope.Parse([]byte(wire)); err == nil {
			t.Errorf("%s was read as %v", text, m.At)
		}
	}
}
