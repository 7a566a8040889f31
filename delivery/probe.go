package delivery

import (
	"context"
	"errors"
	"fmt"

	"github.com/musterhq/muster/port"
)

// maxShown is how much of a text is shown beside the one that was expected, in bytes.
const maxShown = 300

// probe runs a program through acceptance cases, in the folder dir, and returns a sentence for each that fails. An error means that
// a case could not be tried.
func (p *Pipeline) probe(ctx context.Context, dir, binary string, cases []Case) (wrong []string, err error) {
	for _, c := range cases {
		res, err := p.runner.Run(ctx, port.Command{
			Program: binary, Args: c.Args, Dir: dir, Stdin: []byte(c.Stdin), Time: p.c.ProbeTime, Output: maxOutput, Offline: true,
		})
		switch {
		case errors.Is(err, port.ErrInvalid), errors.Is(err, port.ErrNotFound):
			wrong = append(wrong, fmt.Sprintf("case %q: the program does not start: %v", c.Name, err))
		case err != nil:
			return nil, fmt.Errorf("case %q: %w", c.Name, err)
		case res.Ending != port.Exited || res.Exit != c.Exit:
			wrong = append(wrong, fmt.Sprintf("case %q: the program %s, status %d is expected; it said %s", c.Name, exits(res), c.Exit, show(res.Stderr.String())))
		case res.Stdout.String() != c.Stdout:
			wrong = append(wrong, fmt.Sprintf("case %q: with standard input %s the program printed %s, expected is %s", c.Name, show(c.Stdin), show(res.Stdout.String()), show(c.Stdout)))
		}
	}
	return wrong, nil
}

func exits(r port.Result) string {
	if r.OK() {
		return "ended with status 0"
	}
	return ending(r)
}

func show(text string) string { return fmt.Sprintf("%q", clip(text, maxShown)) }
