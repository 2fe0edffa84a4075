package agent

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"postern/bastion/meter"
	"postern/recorder"
)

func packet(kind byte, rest ...byte) string {
	b := binary.BigEndian.AppendUint32(nil, uint32(1+len(rest)))
	return string(append(append(b, kind), rest...))
}

func signing(key, data string) string {
	return packet(signRequest, ssh.Marshal(struct {
		Key, Data string
		Flags     uint32
	}{key, data, 0})...)
}

func extending(name string) string {
	return packet(extension, ssh.Marshal(struct{ Name string }{name})...)
}

// side is one direction of a conversation and what came of it.
type side struct{ forward, answer string }

// talk holds a conversation: pieces that begin with h come from the host, with c from the client.
func talk(pieces ...string) (host, client side, uses []recorder.AgentUse, err error) {
	var log meter.Log
	d := New(&log)
	for _, p := range pieces {
		s, take := &host, d.Host
		if p[0] == 'c' {
			s, take = &client, d.Client
		}
		var step meter.Step
		step, err = take(nil, []byte(p[1:]))
		s.forward += string(step.Forward)
		s.answer += string(step.Answer)
		if err != nil {
			break
		}
	}
	d.Close()
	for _, f := range log.Frames() {
		var use recorder.AgentUse
		if e, eerr := f.Event(); eerr != nil || json.Unmarshal(e.JSON, &use) != nil {
			panic("not an event")
		}
		uses = append(uses, use)
	}
	return host, client, uses, err
}

var (
	list = packet(requestIdentities)
	keys = packet(identitiesAnswer, 0, 0, 0, 0)
	no   = packet(failure)
	lock = packet(22, 0, 0, 0, 0)
)

// An answer of ours waits for those of the agent that were asked before.
func TestOrder(t *testing.T) {
	host, client, uses, err := talk("h"+lock+list+lock+list+lock+lock, "c"+keys, "c"+keys, "h"+lock)
	if err != nil || host.forward != list+list || host.answer != no+no || client.forward != keys+no+keys+no+no || client.answer != "" {
		t.Errorf("%v\nto the agent %q\nat once %q\nlater %q", err, host.forward, host.answer, client.forward)
	}
	var order []uint64
	for _, u := range uses {
		order = append(order, u.Number)
		if u.Denied == u.OK || u.Denied != (u.Request == "lock") || u.Pending {
			t.Errorf("%+v", u)
		}
	}
	if !slices.Equal(order, []uint64{1, 3, 5, 6, 2, 4, 7}) {
		t.Errorf("told in the order %v", order)
	}
}

func TestInPieces(t *testing.T) {
	var pieces []string
	for _, b := range []byte(list + lock + list) {
		pieces = append(pieces, "h"+string([]byte{b}))
	}
	for _, b := range []byte(keys + no) {
		pieces = append(pieces, "c"+string([]byte{b}))
	}
	host, client, uses, err := talk(pieces...)
	if err != nil || host != (side{list + list, ""}) || client.forward != keys+no+no || len(uses) != 3 {
		t.Errorf("%v %q %q %+v", err, host, client, uses)
	}
}

func TestRequests(t *testing.T) {
	_, key := testKey(t)
	sshsig := func(namespace string) string {
		return "SSHSIG" + string(ssh.Marshal(struct{ Namespace, Reserved, Hash, Digest string }{namespace, "", "sha512", "x"}))
	}
	login := func(kind byte, user, method string) string {
		return string(ssh.Marshal(struct {
			Session             string
			Kind                byte
			User, Service, Meth string
			Has                 bool
			Algorithm, Key      string
		}{"id", kind, user, "ssh-connection", method, true, "ssh-ed25519", key}))
	}
	for _, c := range []struct {
		packet  string
		denied  bool
		name    string
		forWhat string
	}{
		{list, false, "list", ""},
		{packet(requestIdentities, 0), true, "list", ""},
		{signing(key, "data"), false, "sign", ""},
		{signing(key, login(50, "bob", "publickey")), false, "sign", "login as bob"},
		{signing(key, login(50, "bob", "publickey-hostbound-v00@openssh.com")), false, "sign", "login as bob"},
		{signing(key, login(51, "bob", "publickey")), false, "sign", ""},
		{signing(key, login(50, strings.Repeat("x", 1000), "publickey")), false, "sign", "login as " + strings.Repeat("x", mostNamed)},
		{signing(key, sshsig("file")), false, "sign", "signature for file"},
		{signing(key, sshsig("approval@postern")), true, "sign", "signature for approval@postern"},
		{signing(key, sshsig("recording-key@postern")), true, "sign", "signature for recording-key@postern"},
		{signing(key, sshsig(strings.Repeat("x", 500)+"@postern")), true, "sign", "signature for " + strings.Repeat("x", mostNamed)},
		{signing(key, "SSHSIG"), false, "sign", ""},
		{signing(key, "") + "", false, "sign", ""},
		{packet(signRequest), true, "sign", ""},
		{packet(signRequest, append(ssh.Marshal(struct {
			Key, Data string
			Flags     uint32
		}{key, "x", 0}), 0)...), true, "sign", ""},
		{extending("session-bind@openssh.com"), false, "extension session-bind@openssh.com", ""},
		{extending("query"), false, "extension query", ""},
		{extending("restrict-destination-v00@openssh.com"), true, "extension restrict-destination-v00@openssh.com", ""},
		{extending("QUERY"), true, "extension QUERY", ""},
		{extending("query\x00"), true, "extension query\x00", ""},
		{packet(extension), true, "extension", ""},
		{packet(extension, 0, 0, 0, 9), true, "extension", ""},
		{packet(17, 0), true, "add", ""},
		{packet(18, 0), true, "remove", ""},
		{packet(19), true, "remove all", ""},
		{packet(20), true, "add smartcard", ""},
		{packet(26), true, "add smartcard constrained", ""},
		{packet(1), true, "list (version 1)", ""},
		{packet(0), true, "kind 0", ""},
		{packet(12), true, "kind 12", ""},
		{packet(255), true, "kind 255", ""},
	} {
		host, _, uses, err := talk("h" + c.packet)
		want := side{c.packet, ""}
		if c.denied {
			want = side{"", no}
		}
		if err != nil || host != want || len(uses) != 1 || uses[0].Request != c.name || uses[0].For != c.forWhat || uses[0].Denied != c.denied || uses[0].Pending == c.denied || uses[0].OK {
			t.Errorf("%.60q: %v %+v %+v", c.packet, err, host, uses)
		}
	}
}

// The key is told as ssh-keygen -l does, be it in a certificate, or of a kind that nobody here knows.
func TestFingerprints(t *testing.T) {
	signer, key := testKey(t)
	cert := &ssh.Certificate{Key: signer.PublicKey(), CertType: ssh.UserCert, Nonce: []byte("x")}
	if err := cert.SignCert(bytes.NewReader(make([]byte, 1000)), signer); err != nil {
		t.Fatal(err)
	}
	want := ssh.FingerprintSHA256(signer.PublicKey())
	if a, b := fingerprint([]byte(key)), fingerprint(cert.Marshal()); a != want || b != want {
		t.Errorf("%s and %s, want %s", a, b, want)
	}
	if got := fingerprint([]byte("\x00\x00\x00\x03new")); got != "SHA256:KBmcTu/ctsU/S6VfWdSeP4o5+SNnwPN8bxaJM8biZ9Y" {
		t.Error(got)
	}
}

func testKey(t *testing.T) (ssh.Signer, string) {
	t.Helper()
	signer, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return signer, string(signer.PublicKey().Marshal())
}

func TestAnswers(t *testing.T) {
	sign, bind := signing("key", "data"), extending("query")
	for _, c := range []struct {
		request string
		kind    byte
		ok      bool
	}{
		{list, failure, false}, {list, identitiesAnswer, true}, {list, failureOfVersion2, false},
		{sign, failure, false}, {sign, signResponse, true}, {sign, failureOfSSHCom, false},
		{bind, failure, false}, {bind, success, true}, {bind, extensionFailure, false}, {bind, extensionResponse, true},
	} {
		_, client, uses, err := talk("h"+c.request, "c"+packet(c.kind, 1, 2, 3))
		if last := uses[len(uses)-1]; err != nil || client.forward != packet(c.kind, 1, 2, 3) || last.OK != c.ok || last.Denied || last.Pending {
			t.Errorf("%q, %d: %v %+v", c.request, c.kind, err, last)
		}
	}
	for _, c := range []struct {
		request string
		kind    byte
	}{{list, success}, {list, signResponse}, {list, extensionFailure}, {list, 0}, {list, list[4]}, {sign, identitiesAnswer}, {sign, success}, {bind, signResponse}, {lock, failure}} {
		_, client, _, err := talk("h"+c.request, "c"+packet(c.kind))
		if err == nil || client.forward != "" {
			t.Errorf("%q is answered with %d: %q", c.request, c.kind, client.forward)
		}
	}
}

func TestLimits(t *testing.T) {
	whole := packet(signRequest, make([]byte, mostPacket-1)...)
	for name, c := range map[string]struct {
		pieces []string
		why    string
	}{
		"too long":          {[]string{"h\x00\x04\x00\x01"}, "262145 bytes"},
		"much too long":     {[]string{"h\xff\xff\xff\xff\x0b"}, "4294967295 bytes"},
		"empty":             {[]string{"h\x00\x00\x00\x00"}, "0 bytes"},
		"an answer so long": {[]string{"h" + list, "c\x00\x04\x00\x01"}, "262145 bytes"},
		"unasked":           {[]string{"c" + keys}, "nobody asked"},
		"answered twice":    {[]string{"h" + list, "c" + keys + keys}, "nobody asked"},
		"no end of asking":  {[]string{"h" + strings.Repeat(list, mostOutstanding+1)}, "without waiting"},
		"with ours between": {[]string{"h" + strings.Repeat(list+lock, mostOutstanding)}, "without waiting"},
		"no end of locks":   {[]string{"h" + strings.Repeat(lock, mostDenied+1)}, "does not stop"},
		"the longest":       {[]string{"h" + whole}, ""},
		"as many as may be": {[]string{"h" + strings.Repeat(list, mostOutstanding), "c" + strings.Repeat(keys, mostOutstanding), "h" + list}, ""},
	} {
		_, _, _, err := talk(c.pieces...)
		if c.why == "" && err != nil || c.why != "" && (err == nil || !strings.Contains(err.Error(), c.why)) {
			t.Errorf("%s: %v, want %q", name, err, c.why)
		}
	}
}

// After an error nothing goes on.
func TestEnd(t *testing.T) {
	d := New(&meter.Log{})
	if _, err := d.Host(nil, []byte(list+"\x00\x00\x00\x00"+list)); err == nil {
		t.Fatal("no error")
	}
	if step, err := d.Host([]byte("x"), []byte(list)); err == nil || string(step.Forward) != "x" {
		t.Errorf("%q %v", step.Forward, err)
	}
	if step, err := d.Client(nil, []byte(keys)); err == nil || len(step.Forward) > 0 {
		t.Errorf("%q %v", step.Forward, err)
	}
}

// A request that is never answered is on record: a signature from when it was asked, others at the end.
func TestUnanswered(t *testing.T) {
	_, _, uses, err := talk("h" + list + signing("key", "data") + lock)
	if err != nil || len(uses) != 3 {
		t.Fatalf("%v %+v", err, uses)
	}
	for i, want := range []recorder.AgentUse{{Number: 2, Request: "sign", Pending: true}, {Number: 3, Request: "lock", Denied: true}, {Number: 1, Request: "list", Pending: true}} {
		uses[i].Key = ""
		if uses[i] != want {
			t.Errorf("%+v, want %+v", uses[i], want)
		}
	}
}

// Whatever both sides say: no panic, nothing but whole packets that may pass goes on, and there is an answer for each request and no other.
func FuzzDecoder(f *testing.F) {
	add := func(pieces ...string) {
		var script []byte
		for _, p := range pieces {
			head := byte(min(len(p)-1, 127))
			if p[0] == 'c' {
				head |= 0x80
			}
			script = append(append(script, head), p[1:]...)
		}
		f.Add(script)
	}
	add("h"+lock+list, "c"+keys, "h"+signing("key", "data"), "c"+packet(signResponse, 1))
	add("h"+list+lock+list, "c"+keys+keys, "h"+extending("query"), "c"+packet(success))
	add("h"+signing("k", "SSHSIG\x00\x00\x00\x10approval@postern"), "h"+list, "c"+no)
	f.Fuzz(func(t *testing.T, script []byte) {
		var log meter.Log
		d := New(&log)
		var asked, toAgent, toHost, came []byte
		for err := error(nil); len(script) > 0 && err == nil; {
			n := min(int(script[0]&0x7f), len(script)-1)
			client, piece := script[0]&0x80 != 0, script[1:1+n]
			script = script[1+n:]
			var step meter.Step
			if client {
				came = append(came, piece...)
				step, err = d.Client(toHost, piece)
				toHost = step.Forward
			} else {
				asked = append(asked, piece...)
				step, err = d.Host(toAgent, piece)
				toAgent, toHost = step.Forward, append(toHost, step.Answer...)
			}
		}
		requests, passed, answers := cut(t, asked, false), cut(t, toAgent, true), cut(t, toHost, true)
		for _, p := range passed {
			i := slices.Index(requests, p)
			if kind := p[4]; i < 0 || kind != requestIdentities && kind != signRequest && kind != extension || strings.Contains(p, ourNamespaceSuffix) && strings.Contains(p, "SSHSIG\x00") && read([]byte(p[4:])).use.Denied {
				t.Fatalf("%q went to the agent", p)
			}
			requests = requests[i+1:]
		}
		if len(answers) > len(cut(t, asked, false)) || len(d.waiting) > mostOutstanding || len(d.requests)+len(d.answers) > len(asked)+len(came) {
			t.Fatalf("%d answers", len(answers))
		}
		d.Close()
		if n := len(log.Frames()); n > 2*len(asked)/5+1 {
			t.Fatalf("%d events of %d bytes", n, len(asked))
		}
	})
}

// cut cuts a stream into packets. All of it has to be packets if it is what we let through.
func cut(t *testing.T, b []byte, whole bool) (list []string) {
	t.Helper()
	for len(b) >= 4 {
		n := binary.BigEndian.Uint32(b)
		if n == 0 || n > mostPacket || uint32(len(b)-4) < n {
			break
		}
		list = append(list, string(b[:4+n]))
		b = b[4+n:]
	}
	if whole && len(b) > 0 {
		t.Fatalf("half a packet: %q", b)
	}
	return list
}
