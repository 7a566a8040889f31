package port_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/musterhq/muster/port"
)

func TestNamesAreOfPlainCharactersWithoutEmptyParts(t *testing.T) {
	long := strings.Repeat("n", port.MaxName)
	for _, good := range []string{"a", "Z9", "_", "-", "a.b", "orders.placed", "a-b_c.D", long} {
		if err := port.CheckName("topic", good); err != nil {
			t.Errorf("CheckName(%q): %v", good, err)
		}
	}
	for bad, says := range map[string]string{
		"":                         "empty",
		long + "n":                 "129 bytes, at most 128",
		strings.Repeat("n", 10000): "10000 bytes",
		".":                        "part between dots",
		".a":                       "part between dots",
		"a.":                       "part between dots",
		"a..b":                     "part between dots",
		"a b":                      `character " "`,
		"a/b":                      `character "/"`,
		"ä":                        `character "\xc3"`,
		"a\x00":                    `character "\x00"`,
		"a*":                       `character "*"`,
	} {
		err := port.CheckName("lease", bad)
		if !errors.Is(err, port.ErrInvalid) || !strings.Contains(err.Error(), says) || !strings.HasPrefix(err.Error(), "lease") {
			t.Errorf("CheckName(%q): %v", bad, err)
		}
		if len(err.Error()) > 300 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
	}
}

func TestADeadLetterTopicMayBeAsLongAsItsParts(t *testing.T) {
	long := strings.Repeat("n", port.MaxName)
	dead := long + "." + long + port.DeadSuffix
	if err := port.CheckName("topic", dead); err != nil {
		t.Error(err)
	}
	if err := port.CheckName("topic", "x"+dead); !errors.Is(err, port.ErrInvalid) {
		t.Errorf("a name of %d bytes: %v", len(dead)+1, err)
	}
	if err := port.CheckName("lease", dead); !errors.Is(err, port.ErrInvalid) {
		t.Errorf("a lease with the name of a dead-letter topic: %v", err)
	}
}

func TestAGroupsNameHasNoDots(t *testing.T) {
	if err := port.CheckGroupName("billing-2_b"); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", "a.b", "a b", strings.Repeat("g", port.MaxName+1)} {
		if err := port.CheckGroupName(bad); !errors.Is(err, port.ErrInvalid) {
			t.Errorf("CheckGroupName(%q): %v", bad, err)
		}
	}
}

func TestKeysAreAnyBytes(t *testing.T) {
	for _, good := range []string{"k", "\x00\xff*", strings.Repeat("k", port.MaxKey)} {
		if err := port.CheckKey("key", good); err != nil {
			t.Errorf("CheckKey(%q): %v", good, err)
		}
	}
	for _, bad := range []string{"", strings.Repeat("k", port.MaxKey+1)} {
		if err := port.CheckKey("key", bad); !errors.Is(err, port.ErrInvalid) {
			t.Errorf("CheckKey of %d bytes: %v", len(bad), err)
		}
	}
}

func TestAFamilyEndsAtTheFirstDotOrSlash(t *testing.T) {
	for name, want := range map[string]string{
		"": "", "orders": "orders", "orders.placed": "orders", "orders/balance/7": "orders", "orders.a/b": "orders", "a/b.c": "a", ".a": "", "a-b": "a-b",
	} {
		if got := port.Family(name); got != want {
			t.Errorf("Family(%q) is %q, want %q", name, got, want)
		}
	}
}
