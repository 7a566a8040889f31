package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/adapter/dir"
	"github.com/musterhq/muster/adapter/local"
	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/adapter/scripted"
	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/delivery"
	"github.com/musterhq/muster/flow"
)

const hello = `{
  "model": "hello",
  "scripts": [{
    "requirements": [{"text": "Say hello."}],
    "answers": [
      {"phase": "plan", "json": {"name": "hello", "summary": "Says hello.", "steps": ["Print it."],
        "acceptance": [{"name": "hello", "stdin": "", "stdout": "hello\n"}]}},
      {"phase": "code", "attempt": 1, "json": {"files": [
        {"path": "main.go", "content": "package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(text()) }\n\nfunc text() string { return \"helo\" }\n"},
        {"path": "main_test.go", "content": "package main\n\nimport \"testing\"\n\nfunc TestText(t *testing.T) {\n\tif text() != \"hello\" {\n\t\tt.Error(text())\n\t}\n}\n"}]}},
      {"phase": "code", "attempt": 2, "json": {"files": [
        {"path": "main.go", "content": "package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(text()) }\n\nfunc text() string { return \"hello\" }\n"},
        {"path": "main_test.go", "content": "package main\n\nimport \"testing\"\n\nfunc TestText(t *testing.T) {\n\tif text() != \"hello\" {\n\t\tt.Error(text())\n\t}\n}\n"}]}}
    ]
  }]
}`

// Requirements become a program: the first attempt fails its own test, the second one is certified, deployed and probed.
func Example() {
	base, err := os.MkdirTemp("", "delivery-")
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := errors.Join(deliver(context.Background(), base), os.RemoveAll(base)); err != nil {
		fmt.Println(err)
	}
	// Output:
	// plan done
	// code done
	// validate back
	// code done
	// validate done
	// certify done
	// deploy done
	// monitor done
	// hello in 2 rounds by [scripted:hello]
}

func deliver(ctx context.Context, base string) error {
	model, err := scripted.Parse("hello.json", []byte(hello), nil)
	if err != nil {
		return err
	}
	blobs, err := dir.Open(filepath.Join(base, "blobs"))
	if err != nil {
		return err
	}
	b := memory.New(memory.Config{})
	p, err := delivery.New(model, blobs, local.Runner{}, filepath.Join(base, "out"), delivery.Config{})
	if err != nil {
		return err
	}
	run, err := p.Start(ctx, b, "", delivery.Requirements{Text: "Say hello."})
	if err != nil {
		return err
	}
	over := errors.New("the run is over")
	err = muster.Run(ctx,
		func(ctx context.Context) error {
			return p.Work(ctx, b, flow.Worker{Group: bus.Group{Log: slog.New(slog.DiscardHandler)}})
		},
		func(ctx context.Context) error {
			for news, err := range run.Watch(ctx) {
				if err != nil {
					return err
				}
				if news.State != delivery.Queued && news.State != delivery.Begun {
					fmt.Println(news.Phase, news.State)
				}
			}
			s, err := run.Wait(ctx)
			if err != nil {
				return err
			}
			fmt.Println(s.Program, "in", s.Rounds, "rounds by", s.Models)
			return over
		})
	if errors.Is(err, over) {
		err = nil
	}
	return errors.Join(err, blobs.Close())
}
