package delivery

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/musterhq/muster/port"
)

const (
	keyFile    = "signing-key.pem"
	publicFile = "signing-key.pub.pem"
)

// signer is the key that statements are signed with.
type signer struct {
	private ed25519.PrivateKey
	id      string // SHA-256 of the public key in its PKIX form
	from    string // where it comes from, for people
}

func (s signer) public() ed25519.PublicKey { return ed25519.PublicKey(s.private[ed25519.SeedSize:]) }

// String is the key's ID and where it comes from; nothing of the private key.
func (s signer) String() string { return fmt.Sprintf("key %.16s, %s", s.id, s.from) }

// Format writes String, whatever the verb.
func (s signer) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// PublicKey is the key that statements of this pipeline are verified with: that of the secret Config.Key, or, where there is none,
// one in Config.State, which is made when it is not there.
func (p *Pipeline) PublicKey(ctx context.Context) (ed25519.PublicKey, error) {
	s, err := p.signer(ctx)
	if err != nil {
		return nil, err
	}
	return s.public(), nil
}

// signer finds the key, or makes one.
func (p *Pipeline) signer(ctx context.Context) (signer, error) {
	if p.c.Secrets != nil {
		secret, err := p.c.Secrets.Get(ctx, p.c.Key)
		if err == nil {
			return parseKey([]byte(secret.Reveal()), fmt.Sprintf("from the secret %q", p.c.Key))
		}
		if !errors.Is(err, port.ErrNotFound) {
			return signer{}, fmt.Errorf("delivery: signing key: %w", err)
		}
	}
	place := filepath.Join(p.c.State, keyFile)
	from := fmt.Sprintf("generated, in %s", place)
	body, err := os.ReadFile(place)
	if err == nil {
		return parseKey(body, from)
	}
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeKey(p.c.State); err == nil {
			body, err = os.ReadFile(place) // another process may have been first
		}
	}
	if err != nil {
		return signer{}, fmt.Errorf("delivery: signing key %s: %w: %w", place, port.ErrUnavailable, err)
	}
	return parseKey(body, from)
}

// parseKey reads an Ed25519 private key. Its errors hold nothing of it.
func parseKey(body []byte, from string) (signer, error) {
	bad := func(why string) (signer, error) {
		return signer{}, final("delivery: signing key %s: %s; an Ed25519 private key is needed, PKCS #8 in PEM, as openssl genpkey -algorithm ed25519 makes it: %w", from, why, port.ErrInvalid)
	}
	block, rest := pem.Decode(body)
	if block == nil || block.Type != "PRIVATE KEY" || len(rest) > 0 {
		return bad("it is not one PEM block PRIVATE KEY")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return bad("it does not parse")
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return bad("it is of another kind")
	}
	s := signer{private: private, from: from}
	public, err := x509.MarshalPKIXPublicKey(s.public())
	if err != nil {
		return bad("its public key does not encode")
	}
	s.id = port.Digest(public)
	return s, nil
}

// makeKey makes a key in the folder state, unless another process does so first.
func makeKey(state string) error {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	open, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(state, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(state)
	if err != nil {
		return err
	}
	err = placeKey(root, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: open}))
	return errors.Join(err, root.Close())
}

// placeKey gives both halves their names. The private one decides: it is linked, so that only one process's key is there; the public one is
// for people and follows.
func placeKey(root *os.Root, private, public []byte) error {
	temp := "key-" + rand.Text()
	if err := writeFile(root, temp, private, 0o600); err != nil {
		return err
	}
	err := root.Link(temp, keyFile)
	if rmErr := root.Remove(temp); rmErr != nil {
		return errors.Join(err, rmErr)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(replaceFile(root, publicFile, public), syncFolder(root, "."))
}
