package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// output is a file that is there only if it is whole. It is opened before anything else is done: what fails for a wrong path after a look at a recording
// leaves in the log a view that nobody had.
type output struct {
	path string
	file *os.File // under another name; standard output where no path is given
}

func openOutput(path string) (*output, error) {
	if path == "" {
		return &output{file: os.Stdout}, nil
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil, fmt.Errorf("%s cannot be written: %w; name a file in it", path, syscall.EISDIR)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if failed := new(os.PathError); errors.As(err, &failed) { // nobody knows the other name
		return nil, fmt.Errorf("%s cannot be written: %w", path, failed.Err)
	}
	if err != nil {
		return nil, err
	}
	return &output{path, f}, nil
}

// write lets fn fill it, and gives it its name.
func (o *output) write(fn func(io.Writer) error) error {
	if o.path == "" {
		return fn(o.file)
	}
	err := fn(o.file)
	if err = errors.Join(err, o.file.Close()); err == nil {
		err = os.Rename(o.file.Name(), o.path)
	}
	if err != nil {
		os.Remove(o.file.Name())
	}
	o.file = nil
	return err
}

// abandon leaves nothing behind of one that was not written.
func (o *output) abandon() {
	if o.path != "" && o.file != nil {
		o.file.Close()
		os.Remove(o.file.Name())
	}
}

// writing lets fn write a file, or to standard output without a path.
func writing(path string, fn func(io.Writer) error) error {
	o, err := openOutput(path)
	if err != nil {
		return err
	}
	return o.write(fn)
}

// newDir makes sure that dir is new or empty and can be filled; undo takes it away again if nothing was.
func newDir(dir string) (undo func(), err error) {
	_, missing := os.Stat(dir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("%s is not empty; name a directory that is new or empty", dir)
	}
	if err == nil {
		var probe string
		probe, err = os.MkdirTemp(dir, ".new-*")
		os.Remove(probe)
	}
	undo = func() {
		if missing != nil {
			os.Remove(dir) // which fails if something is in it
		}
	}
	if err != nil {
		undo()
	}
	return undo, err
}
