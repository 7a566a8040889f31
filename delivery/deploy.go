package delivery

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"

	"github.com/musterhq/muster/port"
)

// deployPhase verifies what was certified, places it as a release, verifies that again, and makes it the current one.
func (p *Pipeline) deployPhase(ctx context.Context, in certified) (deployed, error) {
	w := begin(phaseDeploy, 0, in.Trail)
	key, err := p.signer(ctx)
	if err != nil {
		return deployed{}, w.failed(ctx, err)
	}
	envelope, err := p.load(ctx, "the statement", in.Statement)
	if err != nil {
		return deployed{}, w.failed(ctx, err)
	}
	s, err := Verify(envelope, key.public())
	if err == nil {
		err = in.fits(s)
	}
	if err != nil {
		return deployed{}, w.failed(ctx, final("nothing is deployed: %w", err))
	}
	out := deployed{certified: in, Release: s.Predicate.Release}
	if err := p.place(ctx, s, envelope); err != nil {
		return deployed{}, w.failed(ctx, fmt.Errorf("nothing is deployed: %w", err))
	}
	if _, err := p.target.verify(out.Release, key.public()); err != nil {
		return deployed{}, w.failed(ctx, final("nothing is deployed: %w", err))
	}
	if out.Previous, err = p.target.activate(out.Release); err != nil {
		return deployed{}, w.failed(ctx, err)
	}
	detail := fmt.Sprintf("release %s, signature and %s verified; the first one", out.Release, count(len(s.Subject), "digest"))
	if out.Previous != "" {
		detail = fmt.Sprintf("release %s, signature and %s verified; before it %s", out.Release, count(len(s.Subject), "digest"), out.Previous)
	}
	out.Trail, err = w.end(ctx, true, detail)
	return out, err
}

// fits reports whether a statement is about the program that is to be deployed.
func (in certified) fits(s Statement) error {
	bin := subject("bin/"+in.Program, in.Report.Binary)
	if s.Predicate.Run != in.Run || s.Predicate.Program != in.Program || s.Predicate.Release != releaseID(in.At, in.Run) || !slices.Contains(s.Subject, bin) {
		return fmt.Errorf("the statement is about release %q of run %q, not about %s of run %q: %w", s.Predicate.Release, s.Predicate.Run, bin.Name, in.Run, port.ErrInvalid)
	}
	return nil
}

// place writes the files of a statement into a release. Each comes from the blobs by its digest, so a damaged one is refused.
func (p *Pipeline) place(ctx context.Context, s Statement, envelope []byte) error {
	return p.target.place(s.Predicate.Release, func(root *os.Root) error {
		for _, f := range s.Subject {
			body, err := p.load(ctx, f.Name, f.Digest.SHA256)
			if err != nil {
				return err
			}
			mode := fs.FileMode(0o644)
			if path.Dir(f.Name) == "bin" {
				mode = 0o755
			}
			if err := writeFile(root, f.Name, body, mode); err != nil {
				return err
			}
		}
		return writeFile(root, statementFile, envelope, 0o644)
	})
}

// verify checks a release as it is on the disk: that its statement is signed with key and is about it, and that each of its files is the
// one that the statement names, and no other is there.
func (t target) verify(id string, key ed25519.PublicKey) (s Statement, err error) {
	err = t.within(func(root *os.Root) error {
		release, err := root.OpenRoot(path.Join(releasesFolder, id))
		if err != nil {
			return fmt.Errorf("release %s: %w", id, err)
		}
		s, err = verifyFiles(release, id, key)
		if err = errors.Join(err, release.Close()); err != nil {
			return fmt.Errorf("release %s: %w", id, err)
		}
		return nil
	})
	return s, err
}

func verifyFiles(release *os.Root, id string, key ed25519.PublicKey) (Statement, error) {
	envelope, err := release.ReadFile(statementFile)
	if err != nil {
		return Statement{}, err
	}
	s, err := Verify(envelope, key)
	if err != nil {
		return Statement{}, err
	}
	if s.Predicate.Release != id {
		return s, fmt.Errorf("its statement is about release %q: %w", s.Predicate.Release, port.ErrInvalid)
	}
	want := map[string]string{statementFile: port.Digest(envelope)}
	for _, f := range s.Subject {
		want[f.Name] = f.Digest.SHA256
	}
	err = fs.WalkDir(release.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if !d.Type().IsRegular() || want[name] == "" {
			return fmt.Errorf("file %q does not belong to it: %w", name, port.ErrInvalid)
		}
		body, err := release.ReadFile(name)
		if err == nil && port.Digest(body) != want[name] {
			err = fmt.Errorf("file %q is not the one that was signed: %w", name, port.ErrInvalid)
		}
		delete(want, name)
		return err
	})
	if err == nil && len(want) > 0 {
		err = fmt.Errorf("%s of it missing: %w", count(len(want), "file"), port.ErrNotFound)
	}
	return s, err
}
