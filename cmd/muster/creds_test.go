//go:build unix

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/musterhq/muster/adapter/nats"
)

// secretFile is a file with a text.
func secretFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestATokenOpensANATSServer(t *testing.T) {
	const token = "s3cr3t"
	p := natsServer(t, `authorization { token: "`+token+`" }`, client.Token(token))
	t.Setenv(envBackend, p.URL())
	c := &cli{t: t}
	c.refused(exitUnavailable, "the server asks who this is", "stats")
	t.Setenv(envPassword, "s3cr3t-wrong")
	c.refused(exitUnavailable, "refused the token of $MUSTER_PASSWORD", "stats")
	c.refused(exitUnavailable, "refused the token of the file", "stats", "--password-file", secretFile(t, "s3cr3t-wrong\n"))
	c.ok("publish", "orders", "1", "--password-file", secretFile(t, token+"\n"))
	t.Setenv(envPassword, token)
	c.ok("publish", "orders", "2")
	if got := c.tail("orders"); len(got) != 2 {
		t.Errorf("there are %d messages", len(got))
	}
	c.neverSaid(token, "nats://s3cr3t-wrong@"+p.Addr(), "nats://"+token+"@"+p.Addr(), "nats://"+token+"@"+p.Addr()+",nats://"+token+"@127.0.0.1:1")
}

func TestAUserAndAPasswordOpenANATSServer(t *testing.T) {
	const password = "s3cr3t"
	p := natsServer(t, `authorization { users: [ { user: ann, password: "`+password+`" } ] }`, client.UserInfo("ann", password))
	c := &cli{t: t}
	t.Setenv(envBackend, p.URL())
	c.refused(exitUnavailable, "the password of the user in nats://USER@HOST", "stats")
	t.Setenv(envBackend, "nats://ann@"+p.Addr())
	c.refused(exitUnavailable, "the server refused what stands before the @", "stats")
	t.Setenv(envPassword, "s3cr3t-wrong")
	c.refused(exitUnavailable, "refused the user of the URL with the password of $MUSTER_PASSWORD", "stats")
	t.Setenv(envPassword, password)
	c.ok("publish", "orders", "1")
	c.refused(exitUnavailable, "refused the user of the URL", "stats", "--backend", "nats://bob@"+p.Addr())
	t.Setenv(envPassword, "")
	t.Setenv(envPasswordFile, secretFile(t, password))
	c.ok("publish", "orders", "2")
	c.refused(exitUsage, "--password-file", "stats", "--password-file", filepath.Join(t.TempDir(), "none"))
	c.neverSaid(password, "nats://ann:s3cr3t-wrong@"+p.Addr(), "nats://ann:"+password+"@"+p.Addr())
}

// neverSaid checks that no command prints a secret that stands in a URL.
func (c *cli) neverSaid(secret string, urls ...string) {
	c.t.Helper()
	for _, name := range []string{envPassword, envPasswordFile, envCredsFile} {
		c.t.Setenv(name, "")
	}
	for _, url := range urls {
		c.t.Setenv(envBackend, url)
		for _, args := range [][]string{{"health"}, {"stats", "--json"}, {"publish", "a", "1"}, {"backends"}, {"backends", url}, {"stats", "--help"}} {
			if _, out, errs := c.do("", args...); strings.Contains(out+errs, secret) {
				c.t.Errorf("muster %s:\n%s%s", strings.Join(args, " "), out, errs)
			}
		}
	}
}

// operator makes what a server with accounts is configured by, and the credentials of a user of it and of one that it does not know.
func operator(t *testing.T) (conf, creds, strange string) {
	t.Helper()
	key := func(kp nkeys.KeyPair, err error) (nkeys.KeyPair, string) {
		if err != nil {
			t.Fatal(err)
		}
		public, err := kp.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		return kp, public
	}
	encoded := func(c interface {
		Encode(nkeys.KeyPair) (string, error)
	}, by nkeys.KeyPair,
	) string {
		text, err := c.Encode(by)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	op, opName := key(nkeys.CreateOperator())
	_, system := key(nkeys.CreateAccount())
	account, name := key(nkeys.CreateAccount())
	root := jwt.NewOperatorClaims(opName)
	root.SystemAccount = system
	shop := jwt.NewAccountClaims(name)
	shop.Limits.JetStreamLimits = jwt.JetStreamLimits{DiskStorage: -1, MemoryStorage: -1, Streams: -1, Consumer: -1}
	conf = fmt.Sprintf("operator: %s\nsystem_account: %s\nresolver: MEMORY\nresolver_preload: {\n %s: %s\n %s: %s\n}\n", encoded(root, op), system,
		system, encoded(jwt.NewAccountClaims(system), op), name, encoded(shop, op))
	user := func(by nkeys.KeyPair) string {
		kp, public := key(nkeys.CreateUser())
		seed, err := kp.Seed()
		if err != nil {
			t.Fatal(err)
		}
		text, err := jwt.FormatUserConfig(encoded(jwt.NewUserClaims(public), by), seed)
		if err != nil {
			t.Fatal(err)
		}
		return secretFile(t, string(text))
	}
	other, _ := key(nkeys.CreateAccount())
	return conf, user(account), user(other)
}

func TestACredentialsFileOpensANATSServer(t *testing.T) {
	conf, creds, strange := operator(t)
	p := natsServer(t, conf, client.UserCredentials(creds))
	t.Setenv(envBackend, p.URL())
	c := &cli{t: t}
	c.refused(exitUnavailable, "--creds-file or $MUSTER_CREDS_FILE", "stats")
	c.refused(exitUnavailable, "refused the credentials of the file "+strange, "stats", "--creds-file", strange)
	c.refused(exitUsage, "--creds-file", "stats", "--creds-file", filepath.Join(t.TempDir(), "none"))
	c.refused(exitUsage, "a user's JWT and seed", "stats", "--creds-file", secretFile(t, "no credentials"))
	c.refused(exitUsage, "one is enough", "stats", "--creds-file", creds, "--password-file", creds)
	c.refused(exitUsage, "--creds-file is for nats://", "stats", "--creds-file", creds, "--backend", "redis://127.0.0.1:1")
	c.refused(exitUsage, "--password-file is for servers", "stats", "--password-file", creds, "--backend", "embedded")
	c.ok("publish", "orders", "1", "--creds-file", creds)
	t.Setenv(envCredsFile, creds)
	c.ok("publish", "orders", "2")
	if got := c.tail("orders"); len(got) != 2 {
		t.Errorf("there are %d messages", len(got))
	}
	if out := c.ok("backends"); !strings.Contains(out, p.URL()) {
		t.Errorf("backends:\n%s", out)
	}
}

func TestAUserWithoutThePermissionsIsToldWhich(t *testing.T) {
	p := natsServer(t, `authorization { users: [
		{ user: ann, password: "s3cr3t", permissions: { publish: ["muster.>"], subscribe: [">"] } }
		{ user: all, password: "s3cr3t" }
	] }`, client.UserInfo("all", "s3cr3t"))
	t.Setenv(envPassword, "s3cr3t")
	_, err := nats.Open(t.Context(), nats.Config{URL: p.URL(), User: "ann", PasswordEnv: envPassword, Timeout: 500 * time.Millisecond})
	if err = natsError("", err); err == nil {
		t.Fatal("it is opened")
	}
	err = advise(err)
	if status(err) != exitUnavailable || !strings.Contains(err.Error(), "what docs/nats.md lists") || !strings.Contains(err.Error(), `"$JS.API.STREAM.INFO.muster_muster"`) || strings.Contains(err.Error(), "see that the server runs") {
		t.Errorf("it says %v", err)
	}
}
