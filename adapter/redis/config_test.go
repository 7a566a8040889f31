package redis_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/adapter/redis"
	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

func refuse(t *testing.T, c redis.Config, want error, says ...string) {
	t.Helper()
	b, err := redis.Open(t.Context(), c)
	if err == nil {
		t.Errorf("%v was opened", c)
		_ = b.Close()
		return
	}
	wantError(t, c.String(), err, want, says...)
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the password is in the error: %v", err)
	}
}

func TestAConfigThatCannotBeMeantIsRefusedBeforeAnythingIsAsked(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"})
	client := direct(t, s).c
	refuse(t, redis.Config{}, port.ErrInvalid, "neither URL nor Client")
	refuse(t, redis.Config{URL: s.URL(), Client: client}, port.ErrInvalid, "leave them out")
	refuse(t, redis.Config{Client: client, Timeout: time.Second}, port.ErrInvalid, "leave them out")
	refuse(t, redis.Config{URL: s.URL(), PasswordEnv: "A", PasswordFile: "b"}, port.ErrInvalid, "one is enough")
	refuse(t, redis.Config{URL: "redis://:secret@localhost", PasswordEnv: "A"}, port.ErrInvalid, "one is enough")
	refuse(t, redis.Config{URL: s.URL(), Timeout: -1}, port.ErrInvalid, "negative")
	refuse(t, redis.Config{URL: s.URL(), Namespace: "a:b"}, port.ErrInvalid, "namespace")
	refuse(t, redis.Config{URL: s.URL(), TLS: &tls.Config{MinVersion: tls.VersionTLS12}}, port.ErrInvalid, "not rediss://")
	refuse(t, redis.Config{URL: "http://:secret@localhost"}, port.ErrInvalid)
	refuse(t, redis.Config{URL: "redis://:secret@localhost:port"}, port.ErrInvalid, "cannot be read")
	refuse(t, redis.Config{URL: "redis://:secret@localhost/zero"}, port.ErrInvalid)
	refuse(t, redis.Config{URL: s.URL(), Replicas: -1}, port.ErrInvalid, "replicas")
	refuse(t, redis.Config{URL: s.URL(), Quarantine: -1}, port.ErrInvalid, "quarantine")
}

func TestAConfigPrintsWithoutItsSecrets(t *testing.T) {
	c := redis.Config{URL: "redis://user:secret@localhost:6379/1?secret=secret", Namespace: "n"}
	text, err := json.Marshal(map[string]any{"config": c})
	if err != nil {
		t.Fatal(err)
	}
	for how, got := range map[string]string{
		"%v": fmt.Sprintf("%v", c), "%+v": fmt.Sprintf("%+v", c), "%#v": fmt.Sprintf("%#v", c), "%s": c.String(), "%q": fmt.Sprintf("%q", c),
		"in a struct": fmt.Sprintf("%+v", struct{ C redis.Config }{c}), "json": string(text), "slog": c.LogValue().String(),
	} {
		if strings.Contains(got, "secret") || !strings.Contains(got, "localhost:6379") {
			t.Errorf("%s prints %s", how, got)
		}
	}
	if got := (redis.Config{Client: nil, URL: "://secret"}).String(); strings.Contains(got, "secret") {
		t.Errorf("prints %s", got)
	}
	if got, want := (redis.Config{Client: direct(t, testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"})).c}).String(), `redis own client namespace "muster"`; got != want {
		t.Errorf("prints %s, want %s", got, want)
	}
	s := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off", Password: "secret"})
	if b := open(t, redis.Config{URL: s.URL()}); strings.Contains(fmt.Sprintf("%+v %#v", b, b), "secret") {
		t.Error("a backend prints its password")
	}
}

func TestAPasswordComesFromTheEnvironmentOrAFileAndMayChange(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off", Password: "secret"})
	plain := "redis://" + s.Addr()
	refuse(t, redis.Config{URL: plain}, port.ErrUnavailable, s.Addr(), "the server asks for a password: give it in the URL, PasswordEnv or PasswordFile")
	refuse(t, redis.Config{URL: "redis://:secret-not@" + s.Addr()}, port.ErrUnavailable, s.Addr(), "the server refused the user or the password")
	refuse(t, redis.Config{URL: plain, PasswordEnv: "MUSTER_NOT_SET"}, port.ErrUnavailable, "environment variable MUSTER_NOT_SET", "is not set")
	file := filepath.Join(t.TempDir(), "password")
	refuse(t, redis.Config{URL: plain, PasswordFile: file}, port.ErrUnavailable, "file with the password", file)

	t.Setenv("MUSTER_TEST_PASSWORD", "secret")
	write(t, open(t, redis.Config{URL: plain, PasswordEnv: "MUSTER_TEST_PASSWORD"}), message("orders", "1"))
	save := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	save("secret\r\n")
	b := open(t, redis.Config{URL: "redis://default@" + s.Addr(), PasswordFile: file})
	write(t, b, message("orders", "2"))

	// The password changes, and the next connection reads it anew.
	r := direct(t, s)
	r.do("CONFIG", "SET", "requirepass", "other")
	r.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	r.eventually("the old password is refused", func() bool {
		_, err := b.Get(t.Context(), "k")
		return err != nil && strings.Contains(err.Error(), "refused the user or the password")
	})
	save("other")
	r.eventually("the new password is taken", func() bool { _, err := b.Get(t.Context(), "k"); return err == nil })
}

func TestTLSIsSpokenWithWhomTheConfigTrusts(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off", TLS: true, Password: "secret"})
	b := open(t, redis.Config{URL: s.URL(), TLS: s.TLS()})
	write(t, b, message("orders", "1"))
	g := group("orders", "c1")
	join(t, b, g)
	if got := fetch(t, b, g, 1); len(got) != 1 {
		t.Errorf("fetched %v", got)
	}
	refuse(t, redis.Config{URL: s.URL()}, port.ErrUnavailable, s.Addr(), "certificate")
	refuse(t, redis.Config{URL: s.URL(), TLS: &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}}, port.ErrUnavailable, "certificate")
	other := s.TLS()
	other.ServerName = "example.com"
	refuse(t, redis.Config{URL: s.URL(), TLS: other}, port.ErrUnavailable, "example.com")
	refuse(t, redis.Config{URL: "redis://:secret@" + s.Addr(), Timeout: 5 * time.Second}, port.ErrUnavailable, s.Addr())
}

func TestASocketInTheFilesIsAnAddressToo(t *testing.T) {
	dir, err := os.MkdirTemp("", "muster-") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(dir, "s")
	testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off", Lines: []string{"unixsocket " + path}})
	write(t, open(t, redis.Config{URL: "unix://" + path}), message("orders", "1"))
	refuse(t, redis.Config{URL: "unix://" + path + "-not"}, port.ErrUnavailable, "no such file")
}

func TestTheCallersOwnClientIsNeverClosed(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"})
	r := direct(t, s)
	b, err := redis.Open(t.Context(), redis.Config{Client: r.c})
	if err != nil {
		t.Fatal(err)
	}
	write(t, b, message("orders", "1"))
	if err := errors.Join(b.Close(), b.Close()); err != nil {
		t.Fatal(err)
	}
	r.do("PING")
	err = b.Write(t.Context(), port.Batch{Messages: []port.Message{message("orders", "2")}})
	wantError(t, "write after Close", err, port.ErrClosed)
}

func TestOpenEndsWithItsContextAndWithAServerThatIsSilent(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"})
	p := testserver.NewProxy(t, s.Addr())
	p.BlackHole()
	refuse(t, redis.Config{URL: "redis://" + p.Addr(), Timeout: 50 * time.Millisecond}, port.ErrUnavailable, p.Addr())
	gone, cancel := context.WithCancelCause(t.Context())
	why := errors.New("no time")
	cancel(why)
	_, err := redis.Open(gone, redis.Config{URL: s.URL()})
	wantError(t, "open without time", err, why)
	p.Cut()
	refuse(t, redis.Config{URL: "redis://" + p.Addr()}, port.ErrUnavailable, p.Addr())
	refuse(t, redis.Config{URL: "redis://no-such-host.invalid"}, port.ErrUnavailable, "no-such-host.invalid")
	p.Restore()
	write(t, open(t, redis.Config{URL: "redis://" + p.Addr()}), message("orders", "1"))
}

func TestAServerThatIsNotFitIsRefusedWhenItIsOpened(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off", Lines: []string{"cluster-enabled yes"}})
	refuse(t, redis.Config{URL: s.URL()}, port.ErrUnavailable, "no server that has slots")
	refuse(t, redis.Config{Client: direct(t, s).c}, port.ErrUnsupported, "member of a cluster")
}

// permitted is the access list of docs/redis.md.
const permitted = "resetkeys ~muster:* allchannels -@all +@read +@write +@pubsub +@connection +eval +evalsha +time +info +config|get -@dangerous +info +config|get"

func TestTheAccessListOfTheManualIsEnoughAndOneThatIsNotIsNamed(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{})
	r := direct(t, s)
	set := func(user, rules string) string {
		r.do(append([]string{"ACL", "SETUSER", user, "on", ">secret"}, strings.Fields(rules)...)...)
		return "redis://" + user + ":secret@" + s.Addr()
	}
	b := open(t, redis.Config{URL: set("good", permitted), AllowClear: true})
	if h := b.Health(t.Context()); h.State != port.Healthy || b.Caps().Durable != port.DurableProcess {
		t.Errorf("health: %+v", h)
	}
	exercise(t, b)
	if n, err := b.Clear(t.Context()); n != 1 || err != nil {
		t.Errorf("%d keys cleared: %v", n, err)
	}
	refuse(t, redis.Config{URL: set("some", permitted+" -xadd -zadd")}, port.ErrUnavailable, "access list forbids this user", "XADD, ZADD", "docs/redis.md")
	refuse(t, redis.Config{URL: set("elsewhere", permitted+" resetkeys ~other:*")}, port.ErrUnavailable, "access list", "key")
	refuse(t, redis.Config{URL: set("mute", permitted+" resetchannels &other:*")}, port.ErrUnavailable, "PUBLISH")
	refuse(t, redis.Config{URL: set("none", "-@all +hello +auth +client +ping")}, port.ErrUnavailable, "access list")

	shy := open(t, redis.Config{URL: set("shy", permitted+" -config|get")})
	if h := shy.Health(t.Context()); shy.Caps().Durable != port.DurableNone || !says(h, "CONFIG GET is not allowed") {
		t.Errorf("health without CONFIG GET: %+v", h)
	}
	r.do("ACL", "SETUSER", "shy", "-set", "-evalsha")
	_, err := shy.Apply(t.Context(), port.Change{Key: "k", Value: []byte("v")})
	wantError(t, "apply", err, port.ErrUnavailable, "access list does not let this user do it")
	err = shy.Write(t.Context(), port.Batch{Messages: []port.Message{message("orders", "1")}})
	wantError(t, "write", err, port.ErrUnavailable, "access list does not let this user do it")
	r.do("ACL", "SETUSER", "shy", "+evalsha", "-xadd")
	err = shy.Write(t.Context(), port.Batch{Messages: []port.Message{message("orders", "1")}})
	wantError(t, "write", err, port.ErrUncertain, "access list does not let this user do all of it")
}

// exercise uses every port once.
func exercise(t *testing.T, b *redis.Backend) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	signals, err := b.Listen(ctx, "news.*")
	if err != nil {
		t.Fatal(err)
	}
	hints, err := b.WatchLeases(ctx, "orders")
	if err != nil {
		t.Fatal(err)
	}
	g := group("orders", "c1")
	join(t, b, g)
	write(t, b, message("orders", "1"), message("orders", "2"))
	got := fetch(t, b, g, 2)
	errs := append(b.Extend(ctx, g, port.Hold{Receipt: got[0].Receipt}), b.Settle(ctx, g, port.Settlement{Receipt: got[0].Receipt})...)
	emit := port.Batch{Messages: []port.Message{message("orders", "3")}}
	errs = append(errs, b.Settle(ctx, g, port.Settlement{Receipt: got[1].Receipt, Then: emit})...)
	_, err1 := b.Apply(ctx, port.Change{Key: "orders/1", Value: []byte("1")})
	_, err2 := b.Add(ctx, "orders/1", 1, 0)
	_, err3 := b.GetTTL(ctx, "orders/1")
	lease, err4 := b.Acquire(ctx, port.Lease{Name: "orders", Owner: "o", Nonce: "n"}, time.Minute)
	errs = append(errs, err1, err2, err3, err4)
	_, renewed := b.Renew(ctx, time.Minute, lease)
	errs = append(append(errs, renewed...), b.Release(ctx, lease)...)
	errs = append(errs, b.Signal(ctx, "news.today", []byte("s")))
	for s, err := range signals {
		if string(s.Payload) != "s" {
			t.Errorf("heard %v", s)
		}
		errs = append(errs, err)
		break
	}
	for h, err := range hints {
		if h.Name != "orders" {
			t.Errorf("a hint at %q", h.Name)
		}
		errs = append(errs, err)
		break
	}
	for _, err := range b.Keys(ctx, "orders/*") {
		errs = append(errs, err)
	}
	for _, err := range b.Inspect(ctx, "*") {
		errs = append(errs, err)
	}
	errs = append(errs, b.Drop(ctx, "orders", "g"), b.Drop(ctx, "orders", ""))
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
}
