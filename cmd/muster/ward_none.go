//go:build !unix

package main

import (
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/cluster"
	"github.com/musterhq/muster/port"
)

// hasWard tells that commands can be stopped with all that they started.
const hasWard = false

// ward runs nothing here.
type ward struct {
	program        string
	args           []string
	drain, grace   time.Duration
	stdin          io.Reader
	stdout, stderr io.Writer
}

func (*ward) run(context.Context, cluster.Term) error { return port.ErrUnsupported }

func wardCommand() *cobra.Command { return &cobra.Command{Use: "term-ward", Hidden: true} }
