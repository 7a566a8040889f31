// Package env gives secrets (port.Secrets) from the environment of the process, or from files that the environment names, as
// container platforms mount them.
//
// What may not enter: keeping a secret, or writing one anywhere.
package env

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/musterhq/muster/port"
)

// MaxFile is the most bytes that a secret's file may have.
const MaxFile = 64 << 10

// Secrets looks up each secret at each Get. The secret "signing-key" is the value of the variable Prefix + SIGNING_KEY (capital
// letters, and _ for . and -, so names that differ in these alone are one), or, when Prefix + SIGNING_KEY_FILE is set instead,
// the content of the file that it names, without one line end at the end. Both at once are [port.ErrInvalid].
type Secrets struct {
	Prefix string // of the variables' names, as in "MUSTER_"; default none
}

var _ port.Secrets = Secrets{}

// Get returns the secret. [port.ErrUnavailable] when its file cannot be read, [port.ErrInvalid] when the file is larger than
// [MaxFile].
func (s Secrets) Get(ctx context.Context, name string) (port.Secret, error) {
	if err := port.CheckName("secret", name); err != nil {
		return port.Secret{}, fmt.Errorf("env: %w", err)
	}
	if ctx.Err() != nil {
		return port.Secret{}, fmt.Errorf("env: secret %q: %w", name, context.Cause(ctx))
	}
	variable := s.Prefix + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(name))
	value, path := os.Getenv(variable), os.Getenv(variable+"_FILE")
	switch {
	case value != "" && path != "":
		return port.Secret{}, fmt.Errorf("env: secret %q: both %s and %s_FILE are set; unset one of them: %w", name, variable, variable, port.ErrInvalid)
	case value != "":
		return port.NewSecret(value), nil
	case path == "":
		return port.Secret{}, fmt.Errorf("env: secret %q: neither %s nor %s_FILE is set; set one of them: %w", name, variable, variable, port.ErrNotFound)
	}
	body, err := read(path)
	if err != nil {
		return port.Secret{}, fmt.Errorf("env: secret %q: %s_FILE: %w", name, variable, err)
	}
	if line, ended := strings.CutSuffix(body, "\n"); ended {
		body = strings.TrimSuffix(line, "\r")
	}
	if body == "" {
		return port.Secret{}, fmt.Errorf("env: secret %q: the file %s that %s_FILE names is empty: %w", name, path, variable, port.ErrNotFound)
	}
	return port.NewSecret(body), nil
}

func read(path string) (string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%w: %w", port.ErrNotFound, err)
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", port.ErrUnavailable, err)
	}
	body, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("%w: %w", port.ErrUnavailable, err)
	}
	if len(body) > MaxFile {
		return "", fmt.Errorf("%s has more than %d bytes: %w", path, MaxFile, port.ErrInvalid)
	}
	return string(body), nil
}
