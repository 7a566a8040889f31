package delivery

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/musterhq/muster/port"
)

// What is in a target directory and in a release.
const (
	currentLink    = "current"
	releasesFolder = "releases"
	stateFolder    = ".muster"
	previousFolder = stateFolder + "/previous"  // for each release, the one that was current before it
	withdrawn      = stateFolder + "/withdrawn" // for each unhealthy release, a mark
	staging        = stateFolder + "/staging"

	statementFile = "statement.json"
	planFile      = "plan.json"

	stagingKeep = 24 * time.Hour // what was staged longer ago belongs to nobody
)

// target is a directory that releases are placed in. Every step can be repeated, by another process too: a release is placed whole
// by one rename, and current is replaced by another.
type target struct{ dir string }

// release is the path of a release, or of a file in it.
func (t target) release(id string, parts ...string) string {
	return filepath.Join(append([]string{t.dir, releasesFolder, id}, parts...)...)
}

// binary is the path of the program of the current release.
func (t target) binary(program string) string {
	return filepath.Join(t.dir, currentLink, "bin", program)
}

// within opens the directory for fn. Nothing leaves it, not even through a symbolic link.
func (t target) within(fn func(root *os.Root) error) error {
	root, err := os.OpenRoot(t.dir)
	if err == nil {
		err = fn(root)
		err = errors.Join(err, root.Close())
	}
	if err != nil {
		return fmt.Errorf("delivery: target directory %s: %w", t.dir, err)
	}
	return nil
}

// prepare makes the directory, proves that it can be used, and removes what was left there unfinished.
func (t target) prepare() error {
	const remedy = "choose one that this user can write (--out)"
	if err := os.MkdirAll(t.dir, 0o755); err != nil {
		return fmt.Errorf("delivery: target directory %s cannot be made; %s: %w: %w", t.dir, remedy, port.ErrUnavailable, err)
	}
	return t.within(func(root *os.Root) error {
		_, err := current(root)
		if err != nil {
			return err
		}
		err = root.MkdirAll(releasesFolder, 0o755)
		for _, folder := range []string{staging, previousFolder, withdrawn} {
			err = errors.Join(err, root.MkdirAll(folder, 0o700))
		}
		for _, folder := range []string{".", releasesFolder, stateFolder} {
			err = errors.Join(err, tryLink(root, folder))
		}
		if err != nil {
			return fmt.Errorf("it cannot be written, or has no symbolic links; %s: %w: %w", remedy, port.ErrUnavailable, err)
		}
		return sweep(root)
	})
}

// tryLink makes and removes a symbolic link in a folder.
func tryLink(root *os.Root, folder string) error {
	name := path.Join(folder, ".try-"+rand.Text())
	if err := root.Symlink("nowhere", name); err != nil {
		return err
	}
	return root.Remove(name)
}

// sweep removes what was staged by workers that died.
func sweep(root *os.Root) error {
	entries, err := fs.ReadDir(root.FS(), staging)
	if err != nil {
		return fmt.Errorf("%w: %w", port.ErrUnavailable, err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) || err == nil && time.Since(info.ModTime()) < stagingKeep {
			continue
		}
		if err == nil {
			err = root.RemoveAll(path.Join(staging, e.Name()))
		}
		if err != nil {
			return fmt.Errorf("%w: %w", port.ErrUnavailable, err)
		}
	}
	return nil
}

// current is the id of the current release; "" when there is none.
func current(root *os.Root) (string, error) {
	to, err := root.Readlink(currentLink)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		if info, statErr := root.Lstat(currentLink); statErr == nil && info.Mode().Type() != fs.ModeSymlink {
			return "", final("%s in it is no symbolic link; move it away, or choose another directory (--out): %w", currentLink, port.ErrInvalid)
		}
		return "", fmt.Errorf("%w: %w", port.ErrUnavailable, err)
	}
	folder, id := path.Split(filepath.ToSlash(to))
	if folder != releasesFolder+"/" || id == "" {
		return "", final("%s in it leads to %q, which is no release; move it away, or choose another directory (--out): %w", currentLink, to, port.ErrInvalid)
	}
	return id, nil
}

// place puts a release in its place, filled by fill, whole or not at all. One that is there already stays as it is.
func (t target) place(id string, fill func(root *os.Root) error) error {
	return t.within(func(root *os.Root) error {
		to := path.Join(releasesFolder, id)
		if _, err := root.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		temp := path.Join(staging, id+"-"+rand.Text())
		if err := root.Mkdir(temp, 0o755); err != nil {
			return err
		}
		err := fillFolder(root, temp, fill)
		if err == nil {
			err = root.Rename(temp, to)
			if _, statErr := root.Lstat(to); err != nil && statErr == nil {
				err = nil // another worker placed the same release
			}
		}
		if err == nil {
			err = syncFolder(root, releasesFolder)
		}
		if rmErr := root.RemoveAll(temp); rmErr != nil {
			err = errors.Join(err, rmErr)
		}
		return err
	})
}

// fillFolder fills a folder, durably.
func fillFolder(root *os.Root, folder string, fill func(root *os.Root) error) error {
	inner, err := root.OpenRoot(folder)
	if err != nil {
		return err
	}
	err = fill(inner)
	if err == nil {
		err = fs.WalkDir(inner.FS(), ".", func(name string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return err
			}
			return syncFolder(inner, name)
		})
	}
	return errors.Join(err, inner.Close())
}

// activate makes a release the current one, and returns the id of the one before it. A release that was withdrawn is refused.
func (t target) activate(id string) (previous string, err error) {
	err = t.within(func(root *os.Root) error {
		if _, err := root.Lstat(path.Join(withdrawn, id)); !errors.Is(err, fs.ErrNotExist) {
			if err == nil {
				err = final("release %s was withdrawn as unhealthy: %w", id, port.ErrConflict)
			}
			return err
		}
		note := path.Join(previousFolder, id)
		now, err := current(root)
		if err != nil {
			return err
		}
		if now == id {
			body, err := root.ReadFile(note)
			previous = string(body)
			return err
		}
		previous = now
		// Before the switch: what is current now cannot be told after it.
		if err := replaceFile(root, note, []byte(now)); err != nil {
			return err
		}
		if err := syncFolder(root, previousFolder); err != nil {
			return err
		}
		return point(root, id)
	})
	return previous, err
}

// withdraw marks a release as unhealthy and, where it is still the current one, makes another one current, or none.
func (t target) withdraw(id, to string) error {
	return t.within(func(root *os.Root) error {
		if err := replaceFile(root, path.Join(withdrawn, id), nil); err != nil {
			return err
		}
		if err := syncFolder(root, withdrawn); err != nil {
			return err
		}
		now, err := current(root)
		if err != nil || now != id {
			return err
		}
		if to != "" {
			return point(root, to)
		}
		if err := root.Remove(currentLink); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return syncFolder(root, ".")
	})
}

// now is the id of the current release; "" when there is none.
func (t target) now() (id string, err error) {
	err = t.within(func(root *os.Root) error {
		id, err = current(root)
		return err
	})
	return id, err
}

// point makes current lead to a release in one step.
func point(root *os.Root, id string) error {
	temp := path.Join(stateFolder, currentLink+"-"+rand.Text())
	if err := root.Symlink(releasesFolder+"/"+id, temp); err != nil {
		return err
	}
	if err := root.Rename(temp, currentLink); err != nil {
		return errors.Join(err, root.Remove(temp))
	}
	return syncFolder(root, ".")
}

// replaceFile writes a file whole, in the place of what was there.
func replaceFile(root *os.Root, name string, body []byte) error {
	temp := name + "-" + rand.Text()
	err := writeFile(root, temp, body, 0o644)
	if err == nil {
		err = root.Rename(temp, name)
	}
	if err != nil {
		if rmErr := root.Remove(temp); rmErr != nil && !errors.Is(rmErr, fs.ErrNotExist) {
			err = errors.Join(err, rmErr)
		}
	}
	return err
}

// syncFolder makes the entries of a folder durable.
func syncFolder(root *os.Root, folder string) error {
	d, err := root.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// releaseID is the name of a run's release: when its plan was made, so that names sort, and a part of its own.
func releaseID(at time.Time, run string) string {
	return strings.ToLower(at.UTC().Format("20060102T150405Z")) + "-" + port.Digest([]byte(run))[:8]
}
