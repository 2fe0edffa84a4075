package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"postern/ca/krl"
)

// revokedKeys is the file that sshd's RevokedKeys names.
type revokedKeys struct {
	path string
	disk disk
}

// current reads the list in force; nil if there is none that is whole.
func (r revokedKeys) current() *krl.List {
	b, err := os.ReadFile(r.path)
	if err != nil {
		return nil
	}
	list, err := fromCA(b)
	if err != nil {
		return nil
	}
	return list
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
	if _, damage := fromCA(b); damage != nil {
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
	if old := r.current(); old != nil {
		if sameRevocations(list, old) {
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
		return nil, fmt.Errorf("revocation list: %w", err)
	}
	if !list.Whole() {
		return nil, errors.New("revocation list does not tell its own size, so it is not one of postern's CA")
	}
	return list, nil
}

// sameRevocations reports whether two lists differ in nothing but the time they were made. The CA makes one whenever it is
// asked, which is no reason to write the file.
func sameRevocations(a, b *krl.List) bool {
	x, y := *a, *b
	x.Generated, y.Generated = time.Time{}, time.Time{}
	xs, xerr := x.Marshal()
	ys, yerr := y.Marshal()
	return xerr == nil && yerr == nil && bytes.Equal(xs, ys)
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
