package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/port"
)

// completionTime is how long a shell may wait for the names that there are.
const completionTime = 2 * time.Second

// completeTopic offers the topics that there are for the first argument. Without a backend it offers nothing.
func (f *backendFlags) completeTopic(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return f.names(cmd, "*", func(info port.TopicInfo) []string { return []string{info.Topic.Name} })
}

// completeTopicGroup offers topics for the first argument and the groups of the topic for the second.
func (f *backendFlags) completeTopicGroup(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if len(args) != 1 || port.CheckName("topic", args[0]) != nil {
		return f.completeTopic(cmd, args, toComplete)
	}
	return f.names(cmd, args[0], func(info port.TopicInfo) []string {
		var names []string
		for _, g := range info.Groups {
			names = append(names, g.Name)
		}
		return names
	})
}

// names are those that of finds in the topics that match pattern. Whoever completes is told nothing of what fails.
func (f *backendFlags) names(cmd *cobra.Command, pattern string, of func(port.TopicInfo) []string) ([]string, cobra.ShellCompDirective) {
	parent := cmd.Context()
	if parent == nil {
		parent = context.Background()
	}
	ctx, end := context.WithTimeout(parent, completionTime)
	defer end()
	b, err := f.open(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for info, err := range b.Inspect(ctx, pattern) {
		if err != nil {
			break
		}
		names = append(names, of(info)...)
	}
	if err := b.Close(); err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
