package main

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func versionCommand() *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version and what it was built with",
		Args:  exactly(0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s := newScreen(cmd.OutOrStdout(), asJSON)
			v, platform := version(debug.ReadBuildInfo()), runtime.GOOS+"/"+runtime.GOARCH
			if s.json {
				return errors.Join(s.value(map[string]string{"version": v, "go": runtime.Version(), "platform": platform}), s.flush())
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "muster", v, runtime.Version(), platform)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, one value on a line")
	return cmd
}

// version is what the build knows of itself: the module's version, or the commit that it was built from.
func version(info *debug.BuildInfo, ok bool) string {
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	commit, changed := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = "+changes"
		}
	}
	if commit == "" {
		return "devel"
	}
	return "devel-" + commit[:min(12, len(commit))] + changed
}
