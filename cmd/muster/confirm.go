package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// errDeclined is what becomes of a command whose question was not answered by yes.
var errDeclined = errors.New("not confirmed: nothing was changed")

// yesFlag adds the flag that skips the question of confirm.
func yesFlag(cmd *cobra.Command, yes *bool) {
	cmd.Flags().BoolVar(yes, "yes", false, "do not ask for confirmation")
}

// confirm asks before something is destroyed, on standard error. Without a terminal there is nobody to ask: then only yes will do.
func confirm(cmd *cobra.Command, yes bool, question string) error {
	if yes {
		return nil
	}
	if !isTerminal(cmd.InOrStdin()) {
		return usage(cmd, fmt.Errorf("%s Nobody can be asked here: say --yes", question))
	}
	if _, err := fmt.Fprintf(cmd.ErrOrStderr(), "%s [y/N] ", printable(question)); err != nil {
		return err
	}
	type answer struct {
		text string
		err  error
	}
	got := make(chan answer, 1)
	go func() { // a read from a terminal cannot be ended; it ends with the process
		text, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
		got <- answer{text, err}
	}()
	select {
	case <-cmd.Context().Done():
		return fmt.Errorf("%w: %w", errDeclined, context.Cause(cmd.Context()))
	case a := <-got:
		switch strings.ToLower(strings.TrimSpace(a.text)) {
		case "y", "yes":
			return nil
		default:
			return errDeclined
		}
	}
}
