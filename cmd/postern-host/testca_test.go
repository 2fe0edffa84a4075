package main

import (
	"encoding/json"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/algo"
	"postern/internal/control"
)

// testCA speaks the few commands of the control plane that a host uses, and can answer like a broken or hostile CA.
type testCA struct {
	t       testing.TB
	address string
	config  *ssh.ServerConfig

	mu      sync.Mutex
	krl     []byte
	seq     uint64
	changed chan struct{} // closed when seq rises
	conns   []net.Conn
	certify func(key ssh.PublicKey) (*ssh.Certificate, string) // certificate, or the reason why not
	asked   chan string                                        // every command line
	told    chan control.HostState
	ended   chan control.HostEnded
	orders  control.HostOrders // what host-state answers
}

func newTestCA(t testing.TB, login ssh.PublicKey, knownHosts string) *testCA {
	t.Helper()
	gateway, _ := newSigner(t)
	host, _ := newSigner(t)
	cert := newCert(t, gateway, host.PublicKey(), ssh.Certificate{CertType: ssh.HostCert, ValidPrincipals: []string{control.DefaultName}})
	hostSigner, err := ssh.NewCertSigner(cert, host)
	if err != nil {
		t.Fatal(err)
	}
	put(t, knownHosts, "@cert-authority "+control.DefaultName+" "+string(ssh.MarshalAuthorizedKey(gateway.PublicKey())))
	ca := &testCA{t: t, changed: make(chan struct{}), asked: make(chan string, 1000), told: make(chan control.HostState, 1000), ended: make(chan control.HostEnded, 100)}
	ca.config = &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) != string(login.Marshal()) {
			return nil, os.ErrPermission
		}
		return new(ssh.Permissions), nil
	}}
	algo.Harden(&ca.config.Config)
	ca.config.AddHostKey(hostSigner)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ca.address = listener.Addr().String()
	t.Cleanup(func() { listener.Close(); ca.drop() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			ca.mu.Lock()
			ca.conns = append(ca.conns, conn)
			ca.mu.Unlock()
			go ca.serve(conn)
		}
	}()
	return ca
}

// drop cuts every connection.
func (ca *testCA) drop() {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	for _, c := range ca.conns {
		c.Close()
	}
	ca.conns = nil
}

// publish changes the list, and tells of it if told.
func (ca *testCA) publish(krl []byte, told bool) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	ca.krl = krl
	if told {
		ca.seq++
		close(ca.changed)
		ca.changed = make(chan struct{})
	}
}

// order revokes something, and answers from then on what is to be ended.
func (ca *testCA) order(order control.EndOrder) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	ca.orders.End = append(ca.orders.End, order)
	ca.seq++
	close(ca.changed)
	ca.changed = make(chan struct{})
}

func (ca *testCA) serve(conn net.Conn) {
	_, channels, requests, err := ssh.NewServerConn(conn, ca.config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for c := range channels {
		channel, requests, err := c.Accept()
		if err != nil {
			return
		}
		go func() {
			for r := range requests {
				var exec struct{ Command string }
				ok := r.Type == "exec" && ssh.Unmarshal(r.Payload, &exec) == nil
				r.Reply(ok, nil)
				if ok {
					go ca.command(channel, exec.Command)
				}
			}
		}()
	}
}

func (ca *testCA) command(channel ssh.Channel, line string) {
	defer channel.Close()
	ca.asked <- line
	status := uint32(0)
	switch name, _, _ := strings.Cut(line, " "); name {
	case "krl":
		ca.mu.Lock()
		channel.Write(ca.krl)
		ca.mu.Unlock()
	case "host-state":
		var s control.HostState
		if json.NewDecoder(channel).Decode(&s) == nil { // the connection may be cut
			ca.told <- s
			ca.mu.Lock()
			json.NewEncoder(channel).Encode(ca.orders)
			ca.mu.Unlock()
		}
	case "host-ended":
		var e control.HostEnded
		if json.NewDecoder(channel).Decode(&e) == nil {
			ca.ended <- e
		}
	case "revocations":
		ca.stream(channel)
	case "host-certificate":
		text, _ := io.ReadAll(channel)
		key, _, _, _, err := ssh.ParseAuthorizedKey(text)
		if err != nil {
			ca.t.Errorf("host-certificate: %v", err)
			return
		}
		cert, refusal := ca.certify(key)
		if cert == nil {
			io.WriteString(channel.Stderr(), refusal+"\n")
			status = 1
			break
		}
		json.NewEncoder(channel).Encode(control.Certificate{Certificate: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(cert)))})
	}
	channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
}

func (ca *testCA) stream(channel ssh.Channel) {
	out := json.NewEncoder(channel)
	for told := uint64(0); ; {
		ca.mu.Lock()
		seq, changed := ca.seq, ca.changed
		ca.mu.Unlock()
		e := control.Event{Seq: seq}
		if seq > told {
			e.Revocation = &control.Revocation{Seq: seq, Kind: "request", Value: "R-7K2M4Q"}
		}
		if out.Encode(e) != nil {
			return
		}
		told = seq
		select {
		case <-changed:
		case <-time.After(time.Second):
		}
	}
}
