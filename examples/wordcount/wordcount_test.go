package wordcount_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/adapter/dir"
	"github.com/musterhq/muster/adapter/local"
	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/adapter/scripted"
	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/delivery"
	"github.com/musterhq/muster/flow"
)

var errOver = errors.New("the run is over")

func deliver(t *testing.T, p *delivery.Pipeline) delivery.Summary {
	t.Helper()
	text, err := os.ReadFile("requirements.md")
	if err != nil {
		t.Fatal(err)
	}
	b := memory.New(memory.Config{})
	run, err := p.Start(t.Context(), b, "", delivery.Requirements{Name: "requirements.md", Text: string(text)})
	if err != nil {
		t.Fatal(err)
	}
	var s delivery.Summary
	err = muster.Run(t.Context(),
		func(ctx context.Context) error {
			return p.Work(ctx, b, flow.Worker{Group: bus.Group{Log: slog.New(slog.DiscardHandler)}})
		},
		func(ctx context.Context) (err error) {
			if s, err = run.Wait(ctx); err != nil {
				return err
			}
			return errOver
		})
	if !errors.Is(err, errOver) {
		t.Fatal(err)
	}
	return s
}

func TestTheScriptDeliversAProgramThatCountsLikeWC(t *testing.T) {
	model, err := scripted.Open("script.json")
	if err != nil {
		t.Fatal(err)
	}
	base := t.TempDir()
	blobs, err := dir.Open(filepath.Join(base, "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := blobs.Close(); err != nil {
			t.Error(err)
		}
	})
	p, err := delivery.New(model, blobs, local.Runner{}, filepath.Join(base, "out"), delivery.Config{})
	if err != nil {
		t.Fatal(err)
	}
	first, second := deliver(t, p), deliver(t, p)
	if first.Rounds != 2 || len(first.Retried) != 1 || !strings.Contains(first.Retried[0], "test failed") || !first.Scripted {
		t.Errorf("the first run: %+v", first)
	}
	if second.Previous != first.Release || second.Digest != first.Digest {
		t.Errorf("the second run: %+v", second)
	}
	for name, text := range inputs(t) {
		for _, locale := range []string{"C", "C.UTF-8"} {
			want, got := counted(t, "wc", locale, text), counted(t, second.Binary, locale, text)
			if fmt.Sprint(strings.Fields(want)) != fmt.Sprint(strings.Fields(got)) || got != strings.Join(strings.Fields(got), " ")+"\n" {
				t.Errorf("%s in locale %s: %q, wc says %q", name, locale, got, want)
			}
		}
	}
}

// inputs are texts on which the versions of wc agree: every word has a printable character of ASCII in it. (Older ones do not count words
// of control characters and bytes that are no text; newer ones do.)
func inputs(t *testing.T) map[string]string {
	t.Helper()
	program, err := os.ReadFile("code-2.json")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{
		"nothing": "", "a newline": "\n", "no end of the last line": "one\ntwo", "one byte": "x",
		"every white space": " \ta\vb\fc\r\nd  \n\n", "UTF-8": "größer als 1\nna\u00efve caf\u00e9\n", "a source": string(program),
		"a long line": strings.Repeat("word ", 200_000), "zeros": "a\x00b \x00c\n",
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	const spaces = " \t\n\v\f\r"
	for i := range 50 {
		var b strings.Builder
		for range rnd.IntN(3000) {
			switch rnd.IntN(3) {
			case 0:
				b.WriteByte(spaces[rnd.IntN(len(spaces))])
			case 1:
				b.WriteByte(byte('!' + rnd.IntN('~'-'!'+1)))
			default:
				fmt.Fprintf(&b, "x%cy", []rune("\x00\x01\x7fäß€漢😀")[rnd.IntN(8)])
			}
		}
		all[fmt.Sprintf("random %d", i)] = b.String()
	}
	return all
}

// counted is what a program prints for a text.
func counted(t *testing.T, program, locale, text string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), program)
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=" + locale}
	c.Stdin = io.Reader(bytes.NewReader([]byte(text)))
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", program, err, out)
	}
	return string(out)
}
