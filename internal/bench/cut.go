package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
	"postern/internal/sshsig"
)

const cutRounds = 5

// cut opens many sessions under one request, revokes it, and measures from the moment the signed revocation leaves the
// operator until each client sees its connection end.
func cut(r *rig, o options) error {
	operator, err := readSigner(filepath.Join(r.lab.Dir, "olga", "id_ed25519"))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	ca, err := control.Dial(ctx, control.Config{Address: r.lab.Addresses["ca"], Signers: []ssh.Signer{operator},
		KnownHosts: filepath.Join(r.lab.Dir, "trust", "known_hosts")})
	if err != nil {
		return err
	}
	defer ca.Close()
	addresses, err := r.bastions(o.bastions)
	if err != nil {
		return err
	}
	var each, last []time.Duration
	for range cutRounds {
		took, err := cutOnce(ctx, r, ca, operator, addresses, o.sessions)
		if err != nil {
			return err
		}
		each = append(each, took...)
		last = append(last, quantile(took, 100))
	}
	fmt.Printf("\nrevocation to cut, %d live sessions on %d bastions (%d rounds)\n", o.sessions, len(addresses), cutRounds)
	fmt.Printf("  each session   p50 %6.1f ms   p99 %6.1f ms\n", milliseconds(quantile(each, 50)), milliseconds(quantile(each, 99)))
	fmt.Printf("  the last one   p50 %6.1f ms   max %6.1f ms\n", milliseconds(quantile(last, 50)), milliseconds(quantile(last, 100)))
	return nil
}

func cutOnce(ctx context.Context, r *rig, ca *control.Client, operator ssh.Signer, addresses []string, n int) ([]time.Duration, error) {
	request, err := r.grant(20 * time.Minute)
	if err != nil {
		return nil, err
	}
	live, err := openSessions(r, addresses, n)
	defer func() {
		for _, c := range live {
			c.Close()
		}
	}()
	if err != nil {
		return nil, err
	}
	statement, err := ca.Run(ctx, nil, "show", request.ID, "--statement", "--decision", control.Revoke, "--reason", "measuring")
	if err != nil {
		return nil, err
	}
	signature, err := sshsig.Sign(operator, control.Namespace, statement)
	if err != nil {
		return nil, err
	}
	ended := make(chan time.Time, n)
	for _, c := range live {
		go func() {
			c.Wait()
			ended <- time.Now()
		}()
	}
	began := time.Now()
	if _, err := ca.Run(ctx, strings.NewReader(string(signature)), "revoke", request.ID, "--reason", "measuring"); err != nil {
		return nil, err
	}
	var took []time.Duration
	late := time.After(30 * time.Second)
	for range n {
		select {
		case at := <-ended:
			took = append(took, at.Sub(began))
		case <-late:
			return nil, fmt.Errorf("%d of %d sessions live on 30 s after the revocation", n-len(took), n)
		}
	}
	return took, nil
}

// openSessions opens n connections with a running command each, eight at a time, on the bastions in turn.
func openSessions(r *rig, addresses []string, n int) ([]*ssh.Client, error) {
	config, err := r.clientConfig()
	if err != nil {
		return nil, err
	}
	clients := make([]*ssh.Client, n)
	errs := make([]error, n)
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	for i := range n {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			clients[i], errs[i] = openSession(addresses[i%len(addresses)], config)
		})
	}
	wg.Wait()
	var live []*ssh.Client
	for i, c := range clients {
		if errs[i] != nil {
			err = errs[i]
			continue
		}
		live = append(live, c)
	}
	return live, err
}

func openSession(address string, config *ssh.ClientConfig) (*ssh.Client, error) {
	c, err := ssh.Dial("tcp", address, config)
	if err != nil {
		return nil, err
	}
	s, err := c.NewSession()
	if err != nil {
		c.Close()
		return nil, err
	}
	out, err := s.StdoutPipe()
	if err == nil {
		err = s.Start("echo live; exec sleep 600")
	}
	if err == nil {
		_, err = out.Read(make([]byte, len("live\n")))
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("session: %w", err)
	}
	return c, nil
}

func (r *rig) clientConfig() (*ssh.ClientConfig, error) {
	target := r.lab.Account + "@phi1"
	key, err := readSigner(filepath.Join(r.lab.Dir, "alice", "id_ed25519"))
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(r.lab.Dir, "alice", "postern", "certs", target+"-cert.pub"))
	if err != nil {
		return nil, err
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey(b)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.NewCertSigner(public.(*ssh.Certificate), key)
	if err != nil {
		return nil, err
	}
	return &ssh.ClientConfig{
		User: target,
		Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		// ssh itself checks the bastion's certificate in the other measurements; here the clients are only a load.
		HostKeyCallback: func(string, net.Addr, ssh.PublicKey) error { return nil },
		Timeout:         30 * time.Second,
	}, nil
}

func readSigner(file string) (ssh.Signer, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return ssh.ParsePrivateKey(b)
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
