package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"postern/ca/krl"
)

// revokedKeys is the file that sshd's RevokedKeys names.
type revokedKeys struct {
	path string
	disk disk
}

// current reads the list in force; nil if there is none.
func (r revokedKeys) current() (*krl.List, []byte, error) {
	b, err := os.ReadFile(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	list, err := krl.Parse(b)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", r.path, err)
	}
	return list, b, nil
}

// tidy runs before anything is fetched. A damaged list is taken away: sshd may read it as one that revokes less, whereas
// without the file it refuses every key until the CA has sent a whole one.
func (r revokedKeys) tidy() (removed error, err error) {
	b, err := os.ReadFile(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	// Somebody's own list of keys is not ours to overwrite, because that would take back their revocations.
	if len(b) > 0 && !bytes.HasPrefix(b, []byte("SSHKRL")) {
		return nil, fmt.Errorf("%s is not a revocation list of postern; move it away, and name another file with --revoked-keys", r.path)
	}
	if _, damage := krl.Parse(b); damage != nil {
		return fmt.Errorf("%s: %w", r.path, damage), os.Remove(r.path)
	}
	return nil, nil
}

// install puts the list that the CA sent in force, unless it is not whole or older than the one there.
func (r revokedKeys) install(file []byte) (list *krl.List, changed bool, err error) {
	list, err = fromCA(file)
	if err != nil {
		return nil, false, err
	}
	old, oldFile, err := r.current()
	if err != nil {
		old, oldFile = nil, nil // anything whole is better
	}
	if old != nil {
		if bytes.Equal(oldFile, file) {
			return list, false, nil
		}
		if err := older(list, old); err != nil {
			return nil, false, fmt.Errorf("%w; %s stays (if the CA was set up anew, remove it)", err, r.path)
		}
	}
	check := func(back []byte) error {
		_, err := fromCA(back)
		return err
	}
	return list, true, r.disk.replace(r.path, file, 0o644, check)
}

func fromCA(file []byte) (*krl.List, error) {
	list, err := krl.Parse(file)
	if err != nil {
		return nil, fmt.Errorf("the CA's revocation list: %w", err)
	}
	if !list.Whole() {
		return nil, errors.New("the CA's revocation list does not tell its own size")
	}
	return list, nil
}

// older tells why next must not follow old. A CA that was rolled back, or somebody who plays an old list to us, would take
// back revocations. Lists of one number differ when revocations ran out; then the time they were made decides.
func older(next, old *krl.List) error {
	switch {
	case next.Version < old.Version:
		return fmt.Errorf("the CA sent revocation list %d, which is older than %d", next.Version, old.Version)
	case next.Version == old.Version && next.Generated.Before(old.Generated):
		return fmt.Errorf("the CA sent revocation list %d of %s, which is older than that of %s",
			next.Version, next.Generated.UTC().Format("15:04:05"), old.Generated.UTC().Format("15:04:05"))
	}
	return nil
}
