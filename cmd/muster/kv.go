package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/port"
)

func kvCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "kv",
		Short: "Get, put, delete and list keys",
		Args:  exactly(0, "one of get, put, del, keys"),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(kvGet(), kvPut(), kvDel(), kvKeys())
	return cmd
}

// keyLine is a key as it is printed. A key or value that is no UTF-8 is in base64.
type keyLine struct {
	Key         *string `json:"key,omitempty"`
	KeyBase64   *string `json:"keyBase64,omitempty"`
	Value       *string `json:"value,omitempty"`
	ValueBase64 *string `json:"valueBase64,omitempty"`
	TTLSeconds  float64 `json:"ttlSeconds,omitempty"`
}

func keyOf(key string) keyLine {
	var l keyLine
	l.Key, l.KeyBase64 = textOr([]byte(key))
	return l
}

// checkKeys refuses what no key can be.
func checkKeys(cmd *cobra.Command, keys []string) error {
	for _, key := range keys {
		if err := port.CheckKey("key", key); err != nil {
			return usage(cmd, err)
		}
	}
	return nil
}

func kvGet() *cobra.Command {
	var f backendFlags
	cmd := &cobra.Command{
		Use:   "get KEY",
		Short: "Print the value of a key, byte for byte",
		Args:  exactly(1, "one key"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkKeys(cmd, args); err != nil {
				return err
			}
			return f.with(cmd, func(ctx context.Context, b port.Backend, s *screen) error {
				values, err := b.GetTTL(ctx, args[0])
				if err != nil {
					return err
				}
				v := values[0]
				if !v.Found {
					return fmt.Errorf("key %q: %w; muster kv keys lists those that there are", args[0], port.ErrNotFound)
				}
				if !s.json {
					return s.raw(v.Bytes)
				}
				l := keyOf(args[0])
				l.Value, l.ValueBase64 = textOr(v.Bytes)
				l.TTLSeconds = v.TTL.Seconds()
				return s.value(l)
			})
		},
	}
	f.add(cmd)
	return cmd
}

// putFlags are the flags of muster kv put.
type putFlags struct {
	backendFlags
	file     string
	ttl      time.Duration
	ifAbsent bool
	ifEquals string
}

func kvPut() *cobra.Command {
	var f putFlags
	cmd := &cobra.Command{
		Use:   "put KEY [VALUE]",
		Short: "Set a key",
		Long: `Sets a key to the argument, the contents of --file, or standard input. With a condition that does not hold nothing happens and the
status is 4.`,
		Args: between(1, 2, "a key and at most one value"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if err := checkKeys(cmd, args[:1]); err != nil {
				return err
			}
			c := port.Change{Key: args[0], TTL: f.ttl}
			switch equals := cmd.Flags().Changed("if-equals"); {
			case f.ifAbsent && equals:
				return usage(cmd, errors.New("--if-absent and --if-equals are given; only one can hold"))
			case f.ttl < 0:
				return usage(cmd, fmt.Errorf("--ttl %v is negative", f.ttl))
			case f.ifAbsent:
				c.If = port.Absent
			case equals:
				c.If, c.Old = port.Equals, []byte(f.ifEquals)
			}
			in, err := f.input(cmd, args)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, in.Close()) }()
			return f.with(cmd, func(ctx context.Context, b port.Backend, s *screen) error {
				return put(ctx, b, s, c, in)
			})
		},
	}
	f.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.file, "file", "", "read the value from this file")
	flags.DurationVar(&f.ttl, "ttl", 0, "how long it lives, such as 90s (default without end)")
	flags.BoolVar(&f.ifAbsent, "if-absent", false, "only where there is no such key")
	flags.StringVar(&f.ifEquals, "if-equals", "", "only where the value is this one")
	cobra.CheckErr(cmd.MarkFlagFilename("file"))
	return cmd
}

// input is where the value comes from.
func (f *putFlags) input(cmd *cobra.Command, args []string) (io.ReadCloser, error) {
	switch {
	case len(args) == 2 && f.file != "":
		return nil, usage(cmd, errors.New("a value and --file are given; one is enough"))
	case len(args) == 2:
		return io.NopCloser(strings.NewReader(args[1])), nil
	case f.file != "":
		file, err := os.Open(f.file)
		if err != nil {
			return nil, fmt.Errorf("the file with the value cannot be read; give the path of a readable one: %w", err)
		}
		return file, nil
	case isTerminal(cmd.InOrStdin()):
		return nil, usage(cmd, errors.New("there is no value; give one, --file, or standard input that is no terminal"))
	default:
		return io.NopCloser(cmd.InOrStdin()), nil
	}
}

func put(ctx context.Context, b port.Backend, s *screen, c port.Change, in io.Reader) error {
	var err error
	if c.Value, err = readAll(ctx, in, bodyLimit(b)); err != nil {
		return fmt.Errorf("the value cannot be read; give it as an argument, in a --file or on standard input: %w", err)
	}
	applied, err := b.Apply(ctx, c)
	if err != nil {
		return fmt.Errorf("put key %q: %w", c.Key, err)
	}
	a := applied[0]
	switch {
	case a.Err != nil:
		return fmt.Errorf("put key %q: %w", c.Key, a.Err)
	case !a.Done && c.If == port.Absent:
		return fmt.Errorf("put key %q: it is there already: %w; leave --if-absent out to replace it", c.Key, port.ErrConflict)
	case !a.Done:
		return fmt.Errorf("put key %q: it has another value: %w; muster kv get tells which", c.Key, port.ErrConflict)
	case s.json:
		return s.value(keyOf(c.Key))
	default:
		return nil
	}
}

func kvDel() *cobra.Command {
	var f backendFlags
	yes := false
	cmd := &cobra.Command{
		Use:   "del KEY...",
		Short: "Delete keys",
		Long:  `Deletes keys. Those that are not there end it with status 3, after the others are deleted.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage(cmd, errors.New("0 arguments, wanted is one key or several"))
			}
			return checkKeys(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.with(cmd, func(ctx context.Context, b port.Backend, s *screen) error {
				if err := confirm(cmd, yes, fmt.Sprintf("%s would be gone for good.", several(len(args), "key"))); err != nil {
					return err
				}
				return del(ctx, b, s, args)
			})
		},
	}
	f.add(cmd)
	yesFlag(cmd, &yes)
	return cmd
}

func del(ctx context.Context, b port.Backend, s *screen, keys []string) error {
	changes := make([]port.Change, len(keys))
	for i, key := range keys {
		changes[i] = port.Change{Key: key, Delete: true}
	}
	applied, err := b.Apply(ctx, changes...)
	if err != nil {
		return fmt.Errorf("delete keys: %w", err)
	}
	var failed error
	n := 0
	for i, a := range applied {
		switch {
		case a.Err != nil:
			failed = errors.Join(failed, fmt.Errorf("delete key %q: %w", keys[i], a.Err))
		case !a.Was.Found:
			failed = errors.Join(failed, fmt.Errorf("key %q: %w; muster kv keys lists those that there are", keys[i], port.ErrNotFound))
		default:
			n++
		}
	}
	if s.json {
		return errors.Join(s.value(map[string]int{"deleted": n}), failed)
	}
	return errors.Join(s.line(strconv.Itoa(n), "deleted"), failed)
}

func kvKeys() *cobra.Command {
	var f backendFlags
	cmd := &cobra.Command{
		Use:   "keys [PATTERN]",
		Short: "List the keys that match a pattern, in no order",
		Args:  atMost(1, "at most one pattern"),
		RunE: func(cmd *cobra.Command, args []string) error {
			pattern := "*"
			if len(args) == 1 {
				pattern = args[0]
			}
			if err := port.CheckPattern(pattern); err != nil {
				return usage(cmd, err)
			}
			return f.with(cmd, func(ctx context.Context, b port.Backend, s *screen) error {
				for key, err := range b.Keys(ctx, pattern) {
					if err != nil {
						return err
					}
					if s.json {
						err = s.value(keyOf(key))
					} else {
						err = s.line(key)
					}
					if err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	f.add(cmd)
	return cmd
}
