package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/musterhq/muster/port"
)

// Config is how a server is opened: by URL or with the caller's own client. It prints without its secrets.
type Config struct {
	URL          string         // redis://user:password@host:port/db, rediss:// for TLS, unix:///path/to/socket, ?addr=host:port for more addresses, &master_set=name where they are sentinels; default none, then Client is required
	Client       rueidis.Client // the caller's own; it is never closed here; default none
	Namespace    string         // 1 to 128 of A-Z a-z 0-9 . _ -; no two namespaces see each other; default "muster"
	PasswordEnv  string         // environment variable with the password, read at each connection; default none
	PasswordFile string         // file with the password, of which a last line break is cut off, read at each connection; default none
	TLS          *tls.Config    // for rediss://; default the system's roots and the host's name
	Timeout      time.Duration  // of dialing and of an answer; a server that is silent for twice as long, or 2 s, is given up; default 5 s
	AllowClear   bool           // leave to Clear; default false
	Replicas     int            // replicas that must have a new lease before Acquire returns it; default 0
	Quarantine   time.Duration  // how long after a change of the master, and after the first Acquire of all, no new lease is granted: at least the longest time to live of one; default none
}

const (
	defaultNamespace = "muster"
	defaultTimeout   = 5 * time.Second
)

// String prints the configuration without its secrets.
func (c Config) String() string {
	where := ownClient
	if c.Client == nil {
		where = masked(c.URL)
	}
	return fmt.Sprintf("redis %s namespace %q", where, c.namespace())
}

// GoString is String.
func (c Config) GoString() string { return c.String() }

// LogValue is String.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText is String, so that no encoder writes a secret.
func (c Config) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

func (c Config) namespace() string {
	if c.Namespace == "" {
		return defaultNamespace
	}
	return c.Namespace
}

func (c Config) timeout() time.Duration {
	if c.Timeout == 0 {
		return defaultTimeout
	}
	return c.Timeout
}

// masked is a URL without its password and without the values behind the question mark.
func masked(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "(a URL that cannot be read)"
	}
	if u.RawQuery != "" {
		u.RawQuery = "..."
	}
	return u.Redacted()
}

func hasPassword(raw string) bool {
	u, err := url.Parse(raw)
	if err != nil || u.User == nil {
		return false
	}
	_, ok := u.User.Password()
	return ok
}

func (c Config) check() error {
	bad := func(why string) error { return fmt.Errorf("redis: open: %s: %w", why, port.ErrInvalid) }
	switch {
	case c.Client == nil && c.URL == "":
		return bad("neither URL nor Client is given")
	case c.Client != nil && (c.URL != "" || c.PasswordEnv != "" || c.PasswordFile != "" || c.TLS != nil || c.Timeout != 0):
		return bad("with Client, the URL, password, TLS and timeout are the client's own: leave them out")
	case c.PasswordEnv != "" && c.PasswordFile != "":
		return bad("both PasswordEnv and PasswordFile are given; one is enough")
	case c.PasswordEnv+c.PasswordFile != "" && hasPassword(c.URL):
		return bad("the URL has a password, and PasswordEnv or PasswordFile is given; one is enough")
	case c.Replicas < 0:
		return bad("the number of replicas is negative; 0 is the default")
	case c.Quarantine < 0:
		return bad("the quarantine is negative; 0 is none")
	case c.Timeout < 0:
		return bad("the timeout is negative; 0 is the default")
	}
	if err := port.CheckName("namespace", c.namespace()); err != nil {
		return fmt.Errorf("redis: open: %w", err)
	}
	return nil
}

// options are those of the client that is made for a URL and serves b.
func (c Config) options(b *Backend) (rueidis.ClientOption, error) {
	o, err := rueidis.ParseURL(c.URL)
	if err != nil {
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err // the error around it prints the URL with its password
		}
		return o, fmt.Errorf("redis: open %s: %w: %w", masked(c.URL), port.ErrInvalid, err)
	}
	if c.TLS != nil {
		if o.TLSConfig == nil {
			return o, fmt.Errorf("redis: open %s: TLS is given and the URL is not rediss://: %w", masked(c.URL), port.ErrInvalid)
		}
		name := o.TLSConfig.ServerName
		if o.TLSConfig = c.TLS.Clone(); o.TLSConfig.ServerName == "" {
			o.TLSConfig.ServerName = name
		}
	}
	o.ForceSingleClient = len(o.InitAddress) == 1
	o.DisableCache = true
	o.DisableRetry = true // who repeats is the caller's decision: an error says whether it is safe
	o.Dialer.Timeout = c.timeout()
	o.Dialer.KeepAlive = max(c.timeout(), time.Second) // and how often an idle connection is asked whether it lives
	o.ConnWriteTimeout = c.timeout()
	o.DialCtxFn = dial(strings.HasPrefix(c.URL, "unix:"), b)
	secret := c.credentials(o.Username)
	switch {
	case c.PasswordEnv == "" && c.PasswordFile == "":
	case o.Sentinel.MasterSet != "":
		// The function would be asked for the sentinels too, which have no password or another one.
		known, err := secret(rueidis.AuthCredentialsContext{})
		if err != nil {
			return o, fmt.Errorf("redis: open %s: %w: %w", masked(c.URL), port.ErrInvalid, err)
		}
		o.Password = known.Password
	default:
		o.AuthCredentialsFn = secret
	}
	o.Sentinel.Dialer, o.Sentinel.TLSConfig = o.Dialer, o.TLSConfig
	return o, nil
}

// credentials reads the password anew for each connection, so that it can be changed while the program runs.
func (c Config) credentials(user string) func(rueidis.AuthCredentialsContext) (rueidis.AuthCredentials, error) {
	return func(rueidis.AuthCredentialsContext) (rueidis.AuthCredentials, error) {
		if c.PasswordEnv != "" {
			password, ok := os.LookupEnv(c.PasswordEnv)
			if !ok {
				return rueidis.AuthCredentials{}, &dialError{fmt.Errorf("environment variable %s, which should hold the password, is not set", c.PasswordEnv)}
			}
			return rueidis.AuthCredentials{Username: user, Password: password}, nil
		}
		b, err := os.ReadFile(c.PasswordFile)
		if err != nil {
			return rueidis.AuthCredentials{}, &dialError{fmt.Errorf("file with the password: %w", err)}
		}
		password := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
		return rueidis.AuthCredentials{Username: user, Password: password}, nil
	}
}

// dialError marks what went wrong before there was a connection: nothing can have been sent. It hides a ctx that ended: several calls
// wait for one connection, and it was the ctx of one of them.
type dialError struct{ err error }

func (e *dialError) Error() string { return e.err.Error() }

func (e *dialError) Unwrap() error {
	if errors.Is(e.err, context.Canceled) || errors.Is(e.err, context.DeadlineExceeded) {
		return nil
	}
	return e.err
}

// dial makes connections for a backend until it is closed. A new one may be to a server that was restarted.
func dial(unix bool, b *Backend) func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
	return func(ctx context.Context, address string, d *net.Dialer, t *tls.Config) (conn net.Conn, err error) {
		b.forget()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(b.ctx, cancel)()
		switch {
		case unix:
			conn, err = d.DialContext(ctx, "unix", address)
		case t != nil:
			conn, err = (&tls.Dialer{NetDialer: d, Config: t}).DialContext(ctx, "tcp", address)
		default:
			conn, err = d.DialContext(ctx, "tcp", address)
		}
		if err != nil {
			return nil, &dialError{err}
		}
		return conn, nil
	}
}
