package bastion

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
	"postern/internal/sshsig"
	"postern/recorder"
)

// serveRecording gives an auditor one sealed recording, the one the certificate names, and nothing else.
func (b *Bastion) serveRecording(l *login, ch ssh.NewChannel) {
	if ch.ChannelType() != "session" {
		_ = ch.Reject(ssh.Prohibited, "recordings are fetched with the command: recording "+oneLine(l.audit))
		return
	}
	c, reqs, err := ch.Accept()
	if err != nil {
		return
	}
	defer c.Close()
	for req := range reqs {
		if req.Type != "exec" {
			_ = req.Reply(false, nil)
			continue
		}
		_ = req.Reply(true, nil)
		go ssh.DiscardRequests(reqs)
		status := b.export(l, c, stringOf(req.Payload))
		_, _ = c.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
		_ = c.CloseWrite()
		return
	}
}

func (b *Bastion) export(l *login, c ssh.Channel, command string) uint32 {
	log := b.Log.With("person", l.grant.person, "client", tcpAddr(l.RemoteAddr()), "session", l.audit)
	if command != "recording "+l.audit {
		log.Warn("recording refused", "command", oneLine(command))
		fmt.Fprintf(c.Stderr(), "postern: this certificate fetches the recording of %s and nothing else\n", oneLine(l.audit))
		return 1
	}
	err := b.Recorder.Export(l.audit, c)
	if errors.Is(err, recorder.ErrNotFound) {
		fmt.Fprintf(c.Stderr(), "postern: %s has no recording of session %s\n", b.Name, oneLine(l.audit))
		return 1
	}
	if err != nil {
		log.Error("recording", "error", err)
		fmt.Fprintf(c.Stderr(), "postern: the recording of %s could not be read to its end; tell your operator\n", oneLine(l.audit))
		return 1
	}
	log.Info("recording fetched")
	return 0
}

// recordingKeys remembers which keys were checked.
type recordingKeys struct {
	mu    sync.Mutex
	known map[string]recorder.PublicKey // by signature
}

// recordingKey checks that an auditor whom this bastion was told about signed the key, so that a stolen CA cannot choose who reads.
func (b *Bastion) recordingKey(k control.RecordingKey) (recorder.PublicKey, error) {
	if k.ID == "" {
		return recorder.PublicKey{}, errors.New("there is no recording key, and nothing opens unrecorded; an auditor makes one with: postern recording-key new")
	}
	b.keys.mu.Lock()
	defer b.keys.mu.Unlock()
	remembered := k.Statement() + k.Signature
	if public, ok := b.keys.known[remembered]; ok {
		return public, nil
	}
	refuse := func(why string) (recorder.PublicKey, error) {
		return recorder.PublicKey{}, fmt.Errorf("recording key %s: %s; nothing opens unrecorded: have an auditor run postern recording-key new, or the operator put that auditor into this bastion's --auditors", oneLine(k.ID), why)
	}
	signature, err := sshsig.Verify([]byte(k.Signature), control.RecordingKeyNamespace, []byte(k.Statement()))
	if err != nil {
		return refuse("its signature does not verify")
	}
	if !slices.ContainsFunc(b.Auditors, func(a ssh.PublicKey) bool { return string(a.Marshal()) == string(signature.Key.Marshal()) }) {
		return refuse("it is signed by nobody this bastion knows as an auditor")
	}
	public, err := recorder.ParsePublicKey(k.Public)
	if err != nil || control.RecordingKeyID(k.Public) != k.ID {
		return refuse("it is not a recording key")
	}
	if b.keys.known == nil {
		b.keys.known = map[string]recorder.PublicKey{}
	}
	b.keys.known[remembered] = public
	return public, nil
}
