package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/port"
)

func backendsCommand() *cobra.Command {
	var flags backendFlags
	cmd := &cobra.Command{
		Use:   "backends [BACKEND...]",
		Short: "Compare what backends promise",
		Long: `Opens each of the backends, named as --backend names them, asks it what it promises, and prints one line for each. What a server promises
depends on how it is configured, so it is asked and not assumed. Without arguments: memory, embedded and relaxed, the last two in
a directory that is removed again, and the backend that --backend or the environment names.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return compare(cmd, flags, args, args)
			}
			return compareLocal(cmd, flags)
		},
	}
	flags.add(cmd)
	return cmd
}

// compareLocal compares what needs no server, and the backend of the flags or the environment.
func compareLocal(cmd *cobra.Command, flags backendFlags) (err error) {
	dir, err := os.MkdirTemp("", "muster-backends-")
	if err != nil {
		return fmt.Errorf("a directory for the embedded server: %w: %w; name one that can be written in TMPDIR", port.ErrUnavailable, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	names := []string{"memory", embedded, relaxed}
	urls := []string{"memory", embedded + ":" + filepath.Join(dir, embedded), relaxed + ":" + filepath.Join(dir, relaxed)}
	if own := cmp.Or(flags.url, os.Getenv(envBackend)); own != "" {
		names, urls = append(names, own), append(urls, own)
	}
	return compare(cmd, flags, names, urls)
}

// compare prints what each of the backends promises.
func compare(cmd *cobra.Command, flags backendFlags, names, urls []string) error {
	lines := make([]promisesLine, 0, len(urls))
	for i, url := range urls {
		one := flags
		if one.url = url; names[i] != url { // the local ones are there besides, and need none of it
			one.passwordFile, one.credsFile = "", ""
		}
		caps, err := one.caps(cmd.Context())
		if err != nil {
			return advise(err)
		}
		lines = append(lines, promisesLine{Name: masked(names[i]), promises: *promisesOf(caps)})
	}
	s := newScreen(cmd.OutOrStdout(), flags.json)
	return errors.Join(printPromises(s, lines), s.flush())
}

// caps are what the backend of the flags promises. Memory is asked too: nothing is kept in it.
func (f *backendFlags) caps(ctx context.Context) (_ port.Caps, err error) {
	var b port.Backend = memory.New(memory.Config{})
	if f.url != "memory" {
		if b, err = f.open(ctx); err != nil {
			return port.Caps{}, err
		}
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	return b.Caps(), nil
}

// promisesLine is one backend in the comparison.
type promisesLine struct {
	Name string `json:"name"` // as it was given, without a password
	promises
}

// promisesHead names the columns of promisesLine.cells.
func promisesHead() []string {
	return []string{"BACKEND", "DURABLE", "ATOMIC", "FENCED", "EXCLUSION", "TOKEN ORDER", "LINEAR READS", "GAPS TOLD", "MIN LOAN", "LARGEST BODY"}
}

func (p promisesLine) cells() []string {
	return []string{
		p.Name, p.Durable, p.Atomic, yes(p.Fenced), yes(p.Exclusion), yes(p.TokenOrder), yes(p.LinearReads), yes(p.GapDetection),
		time.Duration(p.MinLoanSeconds * float64(time.Second)).String(), strconv.Itoa(p.MaxBody) + " B",
	}
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func printPromises(s *screen, lines []promisesLine) error {
	var rows [][]string
	for _, line := range lines {
		if s.json {
			if err := s.value(line); err != nil {
				return err
			}
		}
		rows = append(rows, line.cells())
	}
	if s.json {
		return nil
	}
	return s.table(promisesHead(), rows)
}
