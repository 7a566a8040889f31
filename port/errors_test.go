package port_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/musterhq/muster/port"
)

func TestAnErrorMatchesItsOwnSentinelAlone(t *testing.T) {
	sentinels := []error{
		port.ErrNotFound, port.ErrConflict, port.ErrDuplicate, port.ErrHeld, port.ErrLost, port.ErrStale, port.ErrGap,
		port.ErrInvalid, port.ErrUnsupported, port.ErrUnavailable, port.ErrUncertain, port.ErrClosed,
	}
	own := func(e error) error {
		switch {
		case errors.Is(e, port.ErrDuplicate):
			return &port.DuplicateError{IDs: []string{"m1"}}
		case errors.Is(e, port.ErrStale):
			return &port.FenceError{Name: "leader", Token: 1, Seen: 2}
		default:
			return e
		}
	}
	for _, one := range sentinels {
		wrapped := fmt.Errorf("redis: settle: %w", own(one))
		for _, other := range sentinels {
			if errors.Is(wrapped, other) != errors.Is(one, other) {
				t.Errorf("%q matches %q: %v", wrapped, other, !errors.Is(one, other))
			}
		}
	}
}

func TestADuplicateErrorTellsWhichAndHowMuch(t *testing.T) {
	part := error(&port.DuplicateError{IDs: []string{"a", "b\n"}})
	if got, want := part.Error(), `duplicate: "a", "b\n" left out, the rest was applied`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	whole := error(&port.DuplicateError{IDs: []string{"a"}, Whole: true})
	if got, want := whole.Error(), `duplicate: "a" was settled before, nothing of this step was applied`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	many := &port.DuplicateError{IDs: strings.Split("a b c d e f g", " ")}
	if got := many.Error(); !strings.Contains(got, `"e" and 2 more left out`) {
		t.Errorf("%s", got)
	}
	if d, ok := errors.AsType[*port.DuplicateError](fmt.Errorf("x: %w", whole)); !ok || !d.Whole {
		t.Error("a wrapped DuplicateError is not found")
	}
}

func TestAFenceErrorTellsBothTokens(t *testing.T) {
	err := error(&port.FenceError{Name: "leader", Token: 3, Seen: 4})
	if got := err.Error(); !strings.Contains(got, `"leader"`) || !strings.Contains(got, "token 3 came after token 4") {
		t.Error(got)
	}
}

func TestValuesPrintTheirNames(t *testing.T) {
	for want, v := range map[string]fmt.Stringer{
		"ack": port.Ack, "return": port.Return, "release": port.Release, "unknown verdict": port.Verdict(3),
		"always": port.Always, "absent": port.Absent, "equals": port.Equals, "If(9)": port.If(9),
		"healthy": port.Healthy, "degraded": port.Degraded, "unavailable": port.Unavailable,
	} {
		if got := v.String(); got != want {
			t.Errorf("%T prints %q, want %q", v, got, want)
		}
	}
	if got := port.State(7).String(); got != "unavailable" {
		t.Errorf("an unknown state prints %q", got)
	}
}
