// Command muster is the binary: it joins adapters to the rooms that do the work, and prints. `muster run` makes a deployed program
// of a requirements file; the others are an operator's and a shell script's hands on a backend.
//
// What may not enter: logic that a library could hold.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/musterhq/muster/port"
)

// The exit statuses, the same for every command.
const (
	exitOK          = 0
	exitError       = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitConflict    = 4
	exitUnavailable = 5
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program but its process: the exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	cmd := root()
	cmd.SetArgs(args)
	cmd.SetIn(stdin)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	err := cmd.ExecuteContext(ctx)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "muster:", sentence(err)) // there is nowhere else to tell it
	}
	return status(err)
}

// sentence is err on one line, with nothing in it that a terminal obeys.
func sentence(err error) string {
	return printable(strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; "))
}

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:           "muster",
		Short:         "Messages, pipelines and deliveries that survive a crash",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				err := fmt.Errorf("unknown command %q", args[0])
				if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
					err = fmt.Errorf("%w, meant may be %s", err, strings.Join(near, " or "))
				}
				return usage(cmd, err)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SuggestionsMinimumDistance = 2
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if bad, ok := errors.AsType[*pflag.InvalidValueError](err); ok && bad.GetFlag().Value.Type() == "duration" {
			return usage(cmd, fmt.Errorf("--%s %q is no duration such as 500ms, 90s, 15m or 36h", bad.GetFlag().Name, bad.GetValue()))
		}
		return usage(cmd, err)
	})
	cmd.AddCommand(runCommand(), versionCommand(), publishCommand(), tailCommand(), topicsCommand(), groupsCommand(), dropCommand(),
		deadCommand(), kvCommand(), cacheCommand(), healthCommand(), statsCommand(), workCommand(), guardCommand(), runsCommand(), resumeCommand(), backendsCommand())
	cmd.AddCommand(membersCommand(), leaderCommand(), whoCommand(), leadCommand(), lockCommand(), wardCommand())
	return cmd
}

// usageError is a command line that cannot be understood.
type usageError struct{ err error }

func (u *usageError) Error() string { return u.err.Error() }
func (u *usageError) Unwrap() error { return u.err }

// usage is err with the command that tells more.
func usage(cmd *cobra.Command, err error) error {
	return &usageError{fmt.Errorf("%w; see %q", err, cmd.CommandPath()+" --help")}
}

// exactly is cobra.ExactArgs with an error that says what is wanted.
func exactly(n int, want string) cobra.PositionalArgs { return between(n, n, want) }

func atMost(n int, want string) cobra.PositionalArgs { return between(0, n, want) }

func between(low, high int, want string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < low || len(args) > high {
			return usage(cmd, fmt.Errorf("%s, wanted is %s", several(len(args), "argument"), want))
		}
		return nil
	}
}

// status is the exit status of err.
func status(err error) int {
	_, badUsage := errors.AsType[*usageError](err)
	if ended, ok := errors.AsType[*commandError](err); ok {
		return ended.status
	}
	switch {
	case err == nil:
		return exitOK
	case badUsage:
		return exitUsage
	case errors.Is(err, port.ErrNotFound):
		return exitNotFound
	case errors.Is(err, port.ErrConflict):
		return exitConflict
	case errors.Is(err, port.ErrUnavailable): // also where that is for a socket or a directory that is not there
		return exitUnavailable
	case errors.Is(err, os.ErrNotExist):
		return exitNotFound
	default:
		return exitError
	}
}
