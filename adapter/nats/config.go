package nats

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/musterhq/muster/port"
)

// Config is how a server is opened: by URL or with the caller's own connection. It prints without its secrets.
type Config struct {
	URL          string        // nats://user:password@host:port, tls:// for TLS, several with commas; default none, then Conn is required
	Conn         *client.Conn  // the caller's own; it is never closed here; default none
	Namespace    string        // 1 to 128 of A-Z a-z 0-9 . _ -; no two namespaces see each other; default "muster"
	User         string        // default the URL's, or none
	PasswordEnv  string        // environment variable with the password, read at each connection; default none
	PasswordFile string        // file with the password, of which a last line break is cut off, read at each connection; default none
	TokenEnv     string        // environment variable with a token, read at each connection; default none
	TokenFile    string        // file with a token, read as PasswordFile is; default none
	CredsFile    string        // file with a user's JWT and seed; default none
	TLS          *tls.Config   // for tls://; default the system's roots and the host's name
	Timeout      time.Duration // of dialing and of an answer; default 5 s
	Replicas     int           // copies of the namespace, 1 to 5: it works while more than half of their servers do; default 3 in a cluster, 1 on a server that stands alone
	MaxBytes     int64         // of the namespace, when it is made here; a write over it is refused; default none
	AllowClear   bool          // leave to Clear; default false
}

const (
	defaultNamespace = "muster"
	defaultTimeout   = 5 * time.Second
)

// String prints the configuration without its secrets.
func (c Config) String() string {
	where := "own connection"
	if c.Conn == nil {
		where = masked(c.URL)
	}
	return fmt.Sprintf("nats %s namespace %q", where, c.namespace())
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

// masked is a list of URLs without their users and passwords: what stands alone before the @ is a token.
func masked(raw string) string {
	list := strings.Split(raw, ",")
	for i, one := range list {
		u, err := url.Parse(strings.TrimSpace(one))
		if err != nil {
			list[i] = "(a URL that cannot be read)"
			continue
		}
		if u.User != nil {
			u.User = url.User("xxxxx")
		}
		list[i] = u.String()
	}
	return strings.Join(list, ",")
}

func (c Config) check() error {
	bad := func(why string) error { return fmt.Errorf("nats: open: %s: %w", why, port.ErrInvalid) }
	secrets := 0
	for _, s := range []string{c.PasswordEnv, c.PasswordFile, c.TokenEnv, c.TokenFile, c.CredsFile} {
		if s != "" {
			secrets++
		}
	}
	switch {
	case c.Conn == nil && c.URL == "":
		return bad("neither URL nor Conn is given")
	case c.Conn != nil && (c.URL != "" || c.User != "" || secrets > 0 || c.TLS != nil):
		return bad("with Conn, the URL, user, secrets and TLS are the connection's own: leave them out")
	case secrets > 1:
		return bad("more than one of PasswordEnv, PasswordFile, TokenEnv, TokenFile and CredsFile is given; one is enough")
	case c.Timeout < 0:
		return bad("the timeout is negative; 0 is the default")
	case c.Replicas < 0 || c.Replicas > 5:
		return bad("Replicas is not 1 to 5; 0 is the default")
	case c.MaxBytes < 0:
		return bad("MaxBytes is negative; 0 is none")
	case c.TLS != nil && !strings.HasPrefix(c.URL, "tls://") && !strings.HasPrefix(c.URL, "wss://"):
		return bad("TLS is given and the URL is not tls://")
	}
	for one := range strings.SplitSeq(c.URL, ",") {
		if _, err := url.Parse(strings.TrimSpace(one)); err != nil {
			return bad("the URL cannot be read; an example is nats://user@127.0.0.1:4222") // not printed: it may hold a password
		}
	}
	if err := port.CheckName("namespace", c.namespace()); err != nil {
		return fmt.Errorf("nats: open: %w", err)
	}
	return nil
}

// options are those of a connection that is made here. It reconnects for ever, and keeps nothing to be sent later: what cannot be
// sent now is refused.
func (c Config) options(b *Backend) ([]client.Option, error) {
	o := []client.Option{
		client.Name("muster"),
		client.Timeout(c.timeout()),
		client.MaxReconnects(-1),
		client.ReconnectWait(100 * time.Millisecond),
		client.ReconnectJitter(100*time.Millisecond, 100*time.Millisecond),
		client.ReconnectBufSize(-1),
		client.PingInterval(max(c.timeout(), time.Second)),
		client.MaxPingsOutstanding(2),
		client.ErrorHandler(func(_ *client.Conn, sub *client.Subscription, err error) {
			if sub != nil && errors.Is(err, client.ErrSlowConsumer) {
				b.gaps()
			}
		}),
	}
	if c.TLS != nil {
		o = append(o, client.Secure(c.TLS))
	}
	if c.CredsFile != "" {
		o = append(o, client.UserCredentials(c.CredsFile))
	}
	if c.TokenEnv != "" || c.TokenFile != "" {
		if _, err := secret(c.TokenEnv, c.TokenFile); err != nil {
			return nil, err
		}
		o = append(o, client.TokenHandler(func() string {
			token, err := secret(c.TokenEnv, c.TokenFile)
			if err != nil {
				return "" // and the server refuses it
			}
			return token
		}))
	}
	if c.PasswordEnv != "" || c.PasswordFile != "" {
		user := c.user()
		if _, err := secret(c.PasswordEnv, c.PasswordFile); err != nil {
			return nil, err
		}
		o = append(o, client.UserInfoHandler(func() (string, string) {
			password, err := secret(c.PasswordEnv, c.PasswordFile)
			if err != nil {
				return user, ""
			}
			return user, password
		}))
	} else if c.User != "" {
		o = append(o, client.UserInfo(c.User, ""))
	}
	return o, nil
}

// address is the list of URLs to be dialed. The client takes a user that stands alone in a URL for a token, and a URL before its
// options: so the user goes with the password.
func (c Config) address() string {
	if c.PasswordEnv == "" && c.PasswordFile == "" {
		return c.URL
	}
	list := strings.Split(c.URL, ",")
	for i, one := range list {
		if u, err := url.Parse(strings.TrimSpace(one)); err == nil {
			u.User = nil
			list[i] = u.String()
		}
	}
	return strings.Join(list, ",")
}

// user is the name that goes with the password.
func (c Config) user() string {
	if c.User != "" {
		return c.User
	}
	first, _, _ := strings.Cut(c.URL, ",")
	if u, err := url.Parse(first); err == nil && u.User != nil {
		return u.User.Username()
	}
	return ""
}

// secret reads a secret from the environment or from a file.
func secret(env, file string) (string, error) {
	if env != "" {
		s, ok := os.LookupEnv(env)
		if !ok {
			return "", fmt.Errorf("nats: open: the environment variable %s is not set: %w", env, port.ErrInvalid)
		}
		return s, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("nats: open: file with the secret: %w: %w", port.ErrInvalid, err)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r"), nil
}
