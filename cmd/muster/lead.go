package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/cluster"
	"github.com/musterhq/muster/port"
)

// The variables by which a command of muster lead and muster lock knows its term.
const (
	envToken = "MUSTER_TOKEN" // the fencing token
	envFence = "MUSTER_FENCE" // NAME=TOKEN, as the header Muster-Fence takes it
)

// holdFlags are the flags of muster lead and muster lock.
type holdFlags struct {
	backendFlags
	id    string
	ttl   time.Duration
	drain time.Duration
	grace time.Duration
	try   bool
	fair  bool
	read  bool
}

func (f *holdFlags) add(cmd *cobra.Command) {
	f.backendFlags.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.id, "id", "", "who holds it, for people to read (default host-pid-nonce)")
	flags.DurationVar(&f.ttl, "ttl", 15*time.Second, "how long after a crash another takes over")
	flags.DurationVar(&f.drain, "drain", 0, "what the command needs to stop when the term is lost: from SIGTERM to SIGKILL in three quarters of it (default a fifth of --ttl)")
	flags.DurationVar(&f.grace, "grace", 10*time.Second, "from SIGTERM to SIGKILL when this command is interrupted, while it is still held")
}

const howItEnds = `
The command gets MUSTER_TOKEN, the fencing token, and MUSTER_FENCE, which a service takes as the header Muster-Fence. It runs in a process
group of its own, without the terminal. Before the term can end, SIGTERM and then SIGKILL go to that group: also when the network is
gone, and when this process was stopped or killed, because a second process keeps the time. What leaves the group is not found; what
a past holder still sends is refused by those who compare tokens.

The exit status is the command's, or 128 and the number of the signal that ended it.`

func leadCommand() *cobra.Command {
	var f holdFlags
	cmd := &cobra.Command{
		Use:   "lead ELECTION -- COMMAND [ARG...]",
		Short: "Run a command while leading, in one process of the fleet at a time",
		Long: `Runs for an election until it is won, and then the command. When the command ends, it resigns. When the term is lost, the command is stopped
and it runs again for the election.
` + howItEnds,
		Example: "  muster lead nightly --ttl 10s -- ./report --all",
		Args:    nameAndCommand,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.hold(cmd, args, func(ctx context.Context, l port.Leases, fn func(context.Context, cluster.Term) error) error {
				return cluster.Lead(ctx, l, cluster.Candidate{Election: args[0], ID: f.id, TTL: f.ttl, Drain: f.drain, Log: f.log(cmd)}, fn)
			})
		},
	}
	f.add(cmd)
	return cmd
}

func lockCommand() *cobra.Command {
	var f holdFlags
	cmd := &cobra.Command{
		Use:   "lock NAME -- COMMAND [ARG...]",
		Short: "Run a command while holding a lock",
		Long: `Waits for a lock, and runs the command once while it is held; with --try it does not wait, and ends with status 4 when another holds it. When the
lock is lost, the command is stopped, and the status is 1. With --fair it has the lock in the order in which those with --fair came; with --read
others may have it with --read at the same time.
` + howItEnds,
		Example: "  muster lock migrate --try -- ./migrate up",
		Args:    nameAndCommand,
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.read && f.try {
				return usage(cmd, errors.New("--read waits as the fair do, and --try does not wait: one of the two"))
			}
			return f.hold(cmd, args, func(ctx context.Context, l port.Leases, fn func(context.Context, cluster.Term) error) error {
				h := cluster.Hold{Name: args[0], ID: f.id, TTL: f.ttl, Drain: f.drain, Fair: f.fair, Log: f.log(cmd)}
				if f.read {
					return cluster.ReadLock(ctx, l, h, fn)
				}
				if !f.try {
					return cluster.Lock(ctx, l, h, fn)
				}
				err := cluster.TryLock(ctx, l, h, fn)
				if errors.Is(err, port.ErrHeld) {
					return fmt.Errorf("%w: %w", port.ErrConflict, err)
				}
				return err
			})
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&f.try, "try", false, "do not wait")
	cmd.Flags().BoolVar(&f.fair, "fair", false, "do not overtake who waits with --fair or --read and came before")
	cmd.Flags().BoolVar(&f.read, "read", false, "share it with others that read, and with nobody else")
	return cmd
}

// nameAndCommand wants a name, and a command behind two dashes.
func nameAndCommand(cmd *cobra.Command, args []string) error {
	if cmd.ArgsLenAtDash() != 1 || len(args) < 2 {
		return usage(cmd, errors.New("wanted is one name, and a command behind --"))
	}
	return nil
}

func (f *holdFlags) log(cmd *cobra.Command) *slog.Logger {
	return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// hold runs the command that args name under a term that get brings.
func (f *holdFlags) hold(cmd *cobra.Command, args []string, get func(context.Context, port.Leases, func(context.Context, cluster.Term) error) error) error {
	command := args[1:]
	if !hasWard {
		return fmt.Errorf("muster %s needs process groups, which this system does not have: %w", cmd.Name(), port.ErrUnsupported)
	}
	if f.ttl <= 0 || f.drain < 0 || f.grace < 0 {
		return usage(cmd, errors.New("--ttl must be positive, --drain and --grace not negative"))
	}
	if f.drain >= f.ttl {
		return usage(cmd, fmt.Errorf("--ttl %v is too short for --drain %v, which is a part of it", f.ttl, f.drain))
	}
	program, err := exec.LookPath(command[0])
	if err != nil {
		return fmt.Errorf("the command %q cannot be run, name a program that can: %w: %w", command[0], port.ErrNotFound, err)
	}
	w := ward{program: program, args: command[1:], drain: f.drain, grace: f.grace, stdin: cmd.InOrStdin(), stdout: cmd.OutOrStdout(), stderr: cmd.ErrOrStderr()}
	if w.drain == 0 {
		w.drain = f.ttl / 5
	}
	return f.with(cmd, func(ctx context.Context, b port.Backend, _ *screen) error {
		err := get(ctx, b, func(ctx context.Context, t cluster.Term) error { return w.run(ctx, t) })
		if errors.Is(err, port.ErrInvalid) && port.CheckName("name", args[0]) == nil {
			err = fmt.Errorf("a longer --ttl or a shorter --drain may do: %w", err)
		}
		return asUsage(cmd, err)
	})
}

// commandError is a command that ended with a status of its own.
type commandError struct {
	status int
	how    string
}

func (e *commandError) Error() string { return "the command ended: " + e.how }

// variables are what a command knows of its term.
func variables(t cluster.Term) []string {
	all := []string{fmt.Sprintf("%s=%d", envToken, t.Token), envFence + "=" + cluster.FormatFence(t.Fence())}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, envToken+"=") && !strings.HasPrefix(v, envFence+"=") {
			all = append(all, v)
		}
	}
	return all
}
