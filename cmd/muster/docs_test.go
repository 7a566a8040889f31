package main

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func TestEveryCommandFlagAndFieldIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Hidden || cmd.Name() == "completion" || cmd.Name() == "help" {
			return
		}
		if !cmd.HasSubCommands() && !strings.Contains(page, cmd.CommandPath()) {
			t.Errorf("docs/cli.md does not tell of %q", cmd.CommandPath())
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !strings.Contains(page, "--"+f.Name) {
				t.Errorf("docs/cli.md does not tell of %s --%s", cmd.CommandPath(), f.Name)
			}
		})
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(root())
	for _, line := range []any{published{}, message{}, topicLine{}, groupLine{}, removedLine{}, statsLine{}, deadLine{}, keyLine{}, cacheLine{}, cacheNodeLine{}, cacheOpLine{}, invalidated{}, healthLine{}, promises{}, promisesLine{}, memberLine{}, termLine{}, runLine{}} {
		of := reflect.TypeOf(line)
		for i := range of.NumField() {
			if of.Field(i).Anonymous {
				continue // listed by itself
			}
			if name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ","); !strings.Contains(page, "`"+name+"`") {
				t.Errorf("docs/cli.md does not tell of the field %q of %s", name, of.Name())
			}
		}
	}
}
