package memory

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestHexIsWrittenAndReadAsFmtDoes(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range 100_000 {
		v := rng.Uint64() >> (i % 65)
		text := string(appendHex(nil, v))
		if want := fmt.Sprintf("%016x", v); text != want {
			t.Fatalf("%d is written %q, want %q", v, text, want)
		}
		if back, ok := readHex(text); !ok || back != v {
			t.Fatalf("%q is read as %d, %v, want %d", text, back, ok, v)
		}
	}
}

func TestHexOfAnotherSpellingIsNoNumber(t *testing.T) {
	for c := range 256 {
		for i := range hexLen {
			text := []byte("0123456789abcdef")
			text[i] = byte(c)
			if _, ok := readHex(string(text)); ok != strings.ContainsRune("0123456789abcdef", rune(c)) {
				t.Fatalf("%q is read: %v", text, ok)
			}
		}
	}
	if _, ok := readHex("0123"); ok {
		t.Error("four digits are read")
	}
}
