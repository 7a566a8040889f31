package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/musterhq/muster/adapter/nats"
	"github.com/musterhq/muster/port"
)

// openNATS opens a server of one's own. A credentials file goes before a password, and a password without a user in the URL is a token.
func (f *backendFlags) openNATS(ctx context.Context, at string) (port.Backend, error) {
	c := nats.Config{URL: at, Namespace: f.space()}
	file, env := f.secret()
	what := ""
	switch creds := cmp.Or(f.credsFile, os.Getenv(envCredsFile)); {
	case f.credsFile != "" && f.passwordFile != "":
		return nil, &usageError{errors.New("--creds-file and --password-file are both given; one is enough")}
	case creds != "" && f.passwordFile == "":
		c.CredsFile = creds
		what = "the credentials of the file " + creds
		if err := readable(creds); err != nil {
			return nil, &usageError{fmt.Errorf("the credentials file cannot be used; name one with a user's JWT and seed, as nsc makes it, with --creds-file or $%s: %w", envCredsFile, err)}
		}
	case file == "" && env == "":
		if strings.Contains(at, "@") {
			what = "what stands before the @ of the URL"
		}
	case strings.Contains(at, "@"):
		c.PasswordFile, c.PasswordEnv = file, env
		what = "the user of the URL with the password of " + place(file)
	default:
		c.TokenFile, c.TokenEnv = file, env
		what = "the token of " + place(file)
	}
	b, err := nats.Open(ctx, c)
	if err != nil {
		return nil, natsError(what, err)
	}
	return b, nil
}

// readable reports whether a file has the credentials of a user.
func readable(creds string) error {
	text, err := os.ReadFile(creds)
	if err == nil {
		_, err = nkeys.ParseDecoratedUserNKey(text)
	}
	return err
}

// place is where a secret comes from.
func place(file string) string {
	if file == "" {
		return "$" + envPassword
	}
	return "the file " + file
}

// natsError is err with what to do where the server let nobody in by what was given.
func natsError(given string, err error) error {
	refused := false
	for _, why := range []error{client.ErrAuthorization, client.ErrAuthExpired, client.ErrAuthRevoked, client.ErrAccountAuthExpired} {
		refused = refused || errors.Is(err, why)
	}
	if errors.Is(err, client.ErrPermissionViolation) {
		return &localError{err}
	}
	const ways = "a token, or the password of the user in nats://USER@HOST, by $" + envPassword + " or --password-file, a user's credentials by --creds-file or $" + envCredsFile
	switch {
	case !refused:
		return err
	case given == "":
		return &localError{fmt.Errorf("the server asks who this is; give it what it knows you by: %s: %w", ways, err)}
	default:
		return &localError{fmt.Errorf("the server refused %s; see that it is what it knows you by, which is one of: %s: %w", given, ways, err)}
	}
}

// masked is the name of a backend without users and passwords: on NATS what stands alone before the @ is a token.
func masked(name string) string {
	list := strings.Split(name, ",")
	for i, one := range list {
		u, err := url.Parse(one)
		switch {
		case err != nil && strings.Contains(one, "@"):
			list[i] = "(a URL that cannot be read)"
		case err == nil && u.User != nil:
			u.User = url.User("xxxxx")
			list[i] = u.String()
		}
	}
	return strings.Join(list, ",")
}
