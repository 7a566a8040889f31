package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/adapter/nats"
	"github.com/musterhq/muster/adapter/redis"
	"github.com/musterhq/muster/port"
)

// The environment that every command reads.
const (
	envBackend      = "MUSTER_BACKEND"
	envNamespace    = "MUSTER_NAMESPACE"
	envPassword     = "MUSTER_PASSWORD"
	envPasswordFile = "MUSTER_PASSWORD_FILE"
	envCredsFile    = "MUSTER_CREDS_FILE"
)

// backendFlags say where a command works. The environment is read when the backend is opened and never becomes a flag's default:
// --help prints defaults, and a URL may hold a password.
type backendFlags struct {
	url          string
	namespace    string
	passwordFile string
	credsFile    string
	maxBytes     size
	json         bool
	alone        bool // the command is a whole program of its own, so that memory is enough for it
}

func (f *backendFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.url, "backend", "", "where: embedded, embedded:DIR, relaxed:DIR, memory, or a URL: nats://, tls://, redis://, rediss:// or unix:// (default $"+envBackend+", or embedded)")
	flags.StringVar(&f.namespace, "namespace", "", "namespace on the backend; no two see each other (default $"+envNamespace+", or muster)")
	flags.StringVar(&f.passwordFile, "password-file", "", "file with the backend's password or token (default $"+envPasswordFile+"; or the password itself in $"+envPassword+")")
	flags.StringVar(&f.credsFile, "creds-file", "", "nats: file with a user's credentials, JWT and seed (default $"+envCredsFile+")")
	flags.Var(&f.maxBytes, "max-bytes", "embedded and relaxed: refuse writes when this much is kept, 500MB or 10GiB; stays set for the data until another is given")
	flags.BoolVar(&f.json, "json", false, "print JSON, one value on a line")
	cobra.CheckErr(cmd.MarkFlagFilename("password-file"))
	cobra.CheckErr(cmd.MarkFlagFilename("creds-file"))
}

// open opens the backend that the flags and the environment name.
func (f *backendFlags) open(ctx context.Context) (port.Backend, error) {
	url := cmp.Or(f.url, os.Getenv(envBackend), embedded)
	scheme, _, ok := strings.Cut(url, "://")
	if name, _, _ := strings.Cut(url, ":"); !ok && (name == embedded || name == relaxed || url == "memory") {
		scheme, ok = name, true
	}
	if !ok {
		return nil, &usageError{errors.New("the backend is neither a URL with a scheme, such as redis://127.0.0.1:6379 or nats://127.0.0.1:4222, nor embedded, embedded:DIR, relaxed, relaxed:DIR or memory")} // not printed: it may hold a password
	}
	backends := map[string]func(ctx context.Context, url string) (port.Backend, error){
		"memory": f.openMemory,
		embedded: f.openEmbedded,
		relaxed:  f.openEmbedded,
		"nats":   f.openNATS,
		"tls":    f.openNATS,
		"redis":  f.openRedis,
		"rediss": f.openRedis,
		"unix":   f.openRedis,
	}
	open, ok := backends[scheme]
	if !ok {
		var names []string
		for name := range backends {
			names = append(names, name)
		}
		slices.Sort(names)
		return nil, &usageError{fmt.Errorf("no backend for URLs that begin with %q; there are: %s", scheme, strings.Join(names, ", "))}
	}
	if err := f.fits(scheme); err != nil {
		return nil, err
	}
	b, err := open(ctx, url)
	if errors.Is(err, port.ErrInvalid) {
		return nil, &usageError{fmt.Errorf("the backend cannot be opened, see --backend, --namespace and --password-file: %w", err)}
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

// fits refuses flags that the backends of a scheme do not read.
func (f *backendFlags) fits(scheme string) error {
	local := scheme == embedded || scheme == relaxed
	var why string
	switch {
	case f.maxBytes > 0 && !local:
		why = "--max-bytes is for the backends embedded and relaxed; what this one keeps is bounded where its server is configured"
	case f.credsFile != "" && scheme != "nats" && scheme != "tls":
		why = "--creds-file is for nats:// and tls://; other backends know --password-file"
	case f.passwordFile != "" && (local || scheme == "memory"):
		why = "--password-file is for servers; this backend has no password"
	default:
		return nil
	}
	return &usageError{fmt.Errorf("the backend begins with %q, and %s", scheme, why)}
}

func (f *backendFlags) space() string { return cmp.Or(f.namespace, os.Getenv(envNamespace)) }

// secret is the file with the backend's password, or else the environment variable with it, or neither.
func (f *backendFlags) secret() (file, env string) {
	file = cmp.Or(f.passwordFile, os.Getenv(envPasswordFile))
	if file == "" && os.Getenv(envPassword) != "" {
		env = envPassword
	}
	return file, env
}

func (f *backendFlags) openRedis(ctx context.Context, url string) (port.Backend, error) {
	c := redis.Config{URL: url, Namespace: f.space()}
	c.PasswordFile, c.PasswordEnv = f.secret()
	b, err := redis.Open(ctx, c)
	if err != nil {
		return nil, err // a nil *redis.Backend is not a nil port.Backend
	}
	return b, nil
}

func (f *backendFlags) openMemory(context.Context, string) (port.Backend, error) {
	if !f.alone {
		return nil, &usageError{errors.New("a memory backend would be gone when the command ends; leave --backend out, which keeps it on this machine, or name a server")}
	}
	return memory.New(memory.Config{}), nil
}

// with opens the backend for the time of do, and prints where cmd prints.
func (f *backendFlags) with(cmd *cobra.Command, do func(ctx context.Context, b port.Backend, s *screen) error) (err error) {
	b, err := f.open(cmd.Context())
	if err != nil {
		return advise(err)
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	s := newScreen(cmd.OutOrStdout(), f.json)
	return errors.Join(advise(do(cmd.Context(), b, s)), s.flush())
}

// advise is err with what to do next where the backend is the reason.
func advise(err error) error {
	_, told := errors.AsType[*localError](err)
	switch {
	case told:
		return err
	case errors.Is(err, nats.ErrFull):
		return fmt.Errorf("%w; make room: muster runs prune removes old runs, muster topics and muster stats tell what else is kept, muster drop and muster dead remove give it up; or raise the size with --max-bytes", err)
	case errors.Is(err, port.ErrUncertain):
		return fmt.Errorf("%w; look whether it happened before you do it again", err)
	case errors.Is(err, port.ErrUnavailable):
		return fmt.Errorf("%w; see that the server runs and that --backend names it, by scheme, host and port, then do it again", err)
	default:
		return err
	}
}
