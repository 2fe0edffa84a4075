package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/bastion"
	"postern/internal/control"
)

// names are the certificates under which the bastion speaks: its own and one for each host.
type names struct {
	self string // the bastion's name
	key  ssh.Signer

	mu      sync.Mutex
	own     ssh.Signer
	hosts   map[string]bastion.Gateway // by name and by alias
	refresh time.Time
	ready   chan struct{} // closed when there is an own certificate
}

func newNames(self string, key ssh.Signer) *names {
	return &names{self: self, key: key, ready: make(chan struct{})}
}

// hostKeys are what the outer listener shows: its certificate, and for clients that know no host certificates the plain key, to be
// pinned. OpenSSH asks for the certificate first wherever known_hosts has the gateway CA.
func (n *names) hostKeys() []ssh.Signer {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.own == nil {
		return nil
	}
	return []ssh.Signer{n.own, n.key}
}

func (n *names) gateway(name string) (bastion.Gateway, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	g, ok := n.hosts[strings.ToLower(name)]
	return g, ok
}

func (n *names) due() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.refresh
}

func (n *names) outdate() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.refresh = time.Time{}
}

// set takes the CA's answer, one certificate a line, all or nothing.
func (n *names) set(answer []byte) (list []string, err error) {
	var own ssh.Signer
	hosts := map[string]bastion.Gateway{}
	refresh := time.Now().Add(24 * time.Hour)
	for d := json.NewDecoder(bytes.NewReader(answer)); ; {
		var c control.Certificate
		if err := d.Decode(&c); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("gateway certificates: %w", err)
		}
		signer, cert, err := n.signer(c.Certificate)
		if err != nil {
			return nil, fmt.Errorf("gateway certificate for %s: %w", c.Host, err)
		}
		if half := time.Now().Add(time.Until(c.NotAfter) / 2); half.Before(refresh) {
			refresh = half
		}
		list = append(list, c.Host)
		if c.Host == n.self {
			own = signer
			continue
		}
		for _, name := range cert.ValidPrincipals {
			hosts[strings.ToLower(name)] = bastion.Gateway{Name: c.Host, Signer: signer}
		}
	}
	if own == nil {
		return nil, fmt.Errorf("the CA gave no gateway certificate for %s: is that the name of this bastion in hosts.yaml?", n.self)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.own == nil {
		close(n.ready)
	}
	n.own, n.hosts, n.refresh = own, hosts, refresh
	return list, nil
}

func (n *names) signer(line string) (ssh.Signer, *ssh.Certificate, error) {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		return nil, nil, err
	}
	cert, ok := key.(*ssh.Certificate)
	if !ok || cert.CertType != ssh.HostCert {
		return nil, nil, errors.New("not a host certificate")
	}
	signer, err := ssh.NewCertSigner(cert, n.key)
	return signer, cert, err
}

func stringReader(s string) io.Reader { return strings.NewReader(s) }

func jsonReader(v any) io.Reader {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // a struct of strings and numbers
	}
	return bytes.NewReader(b)
}
