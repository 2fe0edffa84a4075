package main

import (
	"fmt"
	"os"

	"golang.org/x/crypto/ssh"
)

// readKeys reads a file of authorized_keys lines.
func readKeys(path string) ([]ssh.PublicKey, error) {
	rest, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var keys []ssh.PublicKey
	for len(rest) > 0 {
		key, _, _, more, err := ssh.ParseAuthorizedKey(rest)
		if err != nil {
			break // nothing but comments and blank lines is left
		}
		keys, rest = append(keys, key), more
	}
	return keys, nil
}

func readKey(path string) (ssh.PublicKey, error) {
	keys, err := readKeys(path)
	if err == nil && len(keys) != 1 {
		err = fmt.Errorf("%s holds %d public keys, not one", path, len(keys))
	}
	if err != nil {
		return nil, err
	}
	return keys[0], nil
}
