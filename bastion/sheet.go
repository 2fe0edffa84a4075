package bastion

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
	"postern/internal/limit"
)

const (
	// sheetUser is the login name under which a sheet is presented.
	sheetUser = "sheet"
	// sheetLifetime is what a certificate of a sealed grant may span, with what a CA may date it back.
	sheetLifetime = control.SheetMax + 5*time.Minute
	// longestSheet is how long its session may last: the hour that no policy exceeds.
	longestSheet = time.Hour
	mostSheet    = 64 << 10
	presentTime  = 20 * time.Second
)

var errNoSheets = errors.New("this is the certificate of a sealed grant, and this bastion takes none; its operator starts it with --emergency on")

// ofSheet says whether a certificate is one of a sealed grant, and how long it may be valid.
func (b *Bastion) ofSheet(cert *ssh.Certificate) (digest string, sealed bool, life time.Duration, err error) {
	digest, sealed = cert.CriticalOptions[control.SheetOption]
	switch {
	case !sealed:
		return "", false, maxLifetime, nil
	case b.Sheets == nil:
		return "", true, 0, errNoSheets
	case len(cert.ValidPrincipals) != 1 || cert.Extensions[requestExtension] == "" || len(cert.CriticalOptions) != 1:
		return "", true, 0, errors.New("this certificate of a sealed grant is not for one account on one host")
	}
	return digest, true, sheetLifetime, nil
}

// admitSheet is admit for the holder of a sealed grant: there must be no CA to ask.
func (b *Bastion) admitSheet(g *grant) error {
	if err := b.Sheets.alone(&b.lease, b.Now()); err != nil {
		return err
	}
	if err := b.Sheets.spent(g.request); err != nil {
		return err
	}
	return b.check(g)
}

// serveSheet takes a sheet from its holder, on a connection that is for nothing else.
func (b *Bastion) serveSheet(l *login, ch ssh.NewChannel) {
	if ch.ChannelType() != "session" {
		_ = ch.Reject(ssh.Prohibited, "here sheets are presented, and nothing else: postern sheet use FILE")
		return
	}
	c, reqs, err := ch.Accept()
	if err != nil {
		return
	}
	defer c.Close()
	late := time.AfterFunc(presentTime, func() { _ = l.visitor.Close() })
	defer late.Stop()
	for req := range reqs {
		if req.Type != "exec" {
			_ = req.Reply(false, nil)
			continue
		}
		_ = req.Reply(true, nil)
		go ssh.DiscardRequests(reqs)
		said, status := b.presentation(l, c)
		fmt.Fprintln(c, said)
		_, _ = c.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
		_ = c.CloseWrite()
		return
	}
}

func (b *Bastion) presentation(l *login, in io.Reader) (said string, status uint32) {
	data, err := io.ReadAll(io.LimitReader(in, mostSheet))
	var made control.Made
	if err == nil {
		err = json.Unmarshal(data, &made)
	}
	var p *presented
	if err == nil {
		p, err = b.present(l.grant, made)
	}
	if err != nil {
		b.Log.Warn("sheet refused", "client", tcpAddr(l.RemoteAddr()), "person", l.grant.person, "request", l.grant.request, "why", oneLine(err.Error()))
		return oneLine(err.Error()), 1
	}
	b.Log.Warn("sheet presented", "client", tcpAddr(l.RemoteAddr()), "person", l.grant.person, "request", l.grant.request, "target", p.terms.Target)
	return fmt.Sprintf("%s is open for %s, once, for %s; log in within %s. Everything is recorded, and the CA hears of it when it is back", p.terms.Target,
		l.grant.person, spoken(time.Duration(p.terms.Seconds)*time.Second), spoken(sheetWait)), 0
}

// present checks a sheet against the certificate its holder logged in with, and opens its envelope. Nothing is used up.
func (b *Bastion) present(g *grant, made control.Made) (*presented, error) {
	if err := b.admitSheet(g); err != nil {
		return nil, err
	}
	if control.SheetDigest(made.Terms, control.EnvelopeSum(made.Envelope)) != g.digest {
		return nil, errors.New("the sheet is not the one that this certificate is of")
	}
	terms, err := control.ParseTerms(made.Terms)
	if err != nil {
		return nil, err
	}
	if err := b.fits(g, terms); err != nil {
		return nil, err
	}
	private, err := b.Sheets.Key.Open(made.Envelope, made.Terms)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return nil, err
	}
	if err := b.fitsHost(terms, signer.PublicKey()); err != nil {
		return nil, err
	}
	if _, err := b.sheetKeys(terms); err != nil {
		return nil, err
	}
	p := &presented{terms: terms, digest: g.digest, signer: signer}
	return p, b.Sheets.wait(p)
}

// fits checks what the terms say against the certificate, this bastion and the clock. The digest says that the CA signed for them; a CA errs, too.
func (b *Bastion) fits(g *grant, t control.Terms) error {
	length := time.Duration(t.Seconds) * time.Second
	switch {
	case t.CA != b.Sheets.CA:
		return fmt.Errorf("the sheet is of the CA %s, not of %s", oneLine(t.CA), b.Sheets.CA)
	case t.Bastion != b.Name:
		return fmt.Errorf("the sheet is for the bastion %s; this is %s", oneLine(t.Bastion), b.Name)
	case t.Request != g.request || t.Target != g.cert.ValidPrincipals[0]:
		return errors.New("the sheet is for another grant than its certificate")
	case !b.Now().Before(t.Until) || t.Until.Unix() != int64(g.cert.ValidBefore):
		return fmt.Errorf("the sheet was good until %s", t.Until.UTC().Format(time.RFC3339))
	case t.Seconds <= 0 || length > longestSheet:
		return fmt.Errorf("the sheet is for a session of %s, and none lasts longer than %s", length, longestSheet)
	case len(t.Capabilities) == 0 || t.Address == "" || t.HostName == "" || !strings.HasSuffix(t.Target, "@"+t.HostName):
		return errors.New("the sheet leads nowhere")
	}
	if _, err := limit.Parse(t.Limits); err != nil {
		return fmt.Errorf("the sheet's limits: %w", err)
	}
	return b.struck(g, t)
}

// struck looks for a revocation that the CA did not know of when it made the sheet. Nobody can be asked, so one that may be meant counts.
func (b *Bastion) struck(g *grant, t control.Terms) error {
	v := &b.revoked
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, r := range v.set {
		if (r.Seq > t.Seq || b.Now().Before(r.Holds)) && r.hits(g.traits(b.Name, t.Target)) {
			return errors.New(revokedText(r.Revocation))
		}
	}
	return nil
}

func (b *Bastion) fitsHost(t control.Terms, pub ssh.PublicKey) error {
	parsed, _, _, _, err := ssh.ParseAuthorizedKey([]byte(t.Certificate))
	cert, ok := parsed.(*ssh.Certificate)
	if err != nil || !ok || cert.CertType != ssh.UserCert || !bytes.Equal(cert.Key.Marshal(), pub.Marshal()) ||
		len(cert.ValidPrincipals) != 1 || cert.ValidPrincipals[0] != t.Target {
		return errors.New("the key in the sheet is not the one that its certificate for the host is over")
	}
	return nil
}

// sheetKeys are whom the session is recorded to: the last keys that the CA named, if an auditor of this bastion signed them. In an emergency what is
// typed is recorded whenever there is a key for it.
func (b *Bastion) sheetKeys(t control.Terms) (control.Ready, error) {
	ready := b.Sheets.ready()
	if _, err := b.recordingKey(ready.RecordingKey, ""); err != nil {
		return ready, err
	}
	if ready.KeystrokeKey != nil {
		_, err := b.recordingKey(*ready.KeystrokeKey, control.Keystrokes)
		if err == nil {
			return ready, nil
		}
		if t.Record.Keystrokes {
			return ready, err
		}
		ready.KeystrokeKey = nil
	}
	if t.Record.Keystrokes {
		return ready, errors.New("the sheet wants what is typed recorded, and this bastion knows no key to seal it to")
	}
	return ready, nil
}

// leave is what a session begins with: the CA's answer about a new key or, without a CA, the sheet's.
func (b *Bastion) leave(ctx context.Context, g *grant, target string, link visitor) (ssh.Signer, *control.OpenReply, error) {
	if g.sealed {
		return b.useSheet(g, target, link)
	}
	key, err := newSessionKey()
	if err != nil {
		return nil, nil, err
	}
	reply, err := b.ask(ctx, control.OpenRequest{Certificate: line(g.cert), Target: target, SessionKey: line(key.PublicKey()), Client: tcpAddr(link.RemoteAddr())})
	return key, reply, err
}

// useSheet makes the answer that the CA would have given, after it was written down that the sheet is used.
func (b *Bastion) useSheet(g *grant, target string, link visitor) (ssh.Signer, *control.OpenReply, error) {
	p, err := b.Sheets.take(g)
	if err != nil {
		return nil, nil, err
	}
	t := p.terms
	if err := b.principal(g, target); err != nil {
		return nil, nil, err
	}
	if err := b.fits(g, t); err != nil { // minutes have passed
		return nil, nil, err
	}
	ready, err := b.sheetKeys(t)
	if err != nil {
		return nil, nil, err
	}
	now := b.Now().UTC().Truncate(time.Second)
	deadline := now.Add(time.Duration(t.Seconds) * time.Second)
	if deadline.After(t.Until) {
		deadline = t.Until.UTC()
	}
	nonce := make([]byte, 16)
	rand.Read(nonce)
	use := control.SheetUse{
		CA: t.CA, Request: t.Request, Session: t.Session, Bastion: b.Name, Target: t.Target, Person: g.person, Key: g.key, Serial: g.cert.Serial,
		Client: tcpAddr(link.RemoteAddr()), Started: now, Deadline: deadline, RecordingKey: ready.RecordingKey.ID, Nonce: hex.EncodeToString(nonce),
	}
	if ready.KeystrokeKey != nil {
		use.KeystrokeKey = ready.KeystrokeKey.ID
	}
	if use, err = use.Sign(b.Sheets.Signer); err != nil {
		return nil, nil, err
	}
	if err := b.Sheets.burn(use); err != nil {
		return nil, nil, err
	}
	b.Log.Error("EMERGENCY: a sealed grant is used", "request", t.Request, "session", t.Session, "person", g.person, "target", t.Target, "client", use.Client)
	return p.signer, replyOf(t, use, ready), nil
}

func replyOf(t control.Terms, use control.SheetUse, ready control.Ready) *control.OpenReply {
	record := t.Record
	record.Keystrokes = ready.KeystrokeKey != nil
	return &control.OpenReply{
		Session: control.Session{
			ID: t.Session, Request: t.Request, Person: use.Person, Key: use.Key, Serial: use.Serial, Target: t.Target, Bastion: use.Bastion, Client: use.Client,
			Started: use.Started, Deadline: use.Deadline, RecordingKey: use.RecordingKey, KeystrokeKey: use.KeystrokeKey, RetainDays: t.Record.RetainDays, Limits: t.Limits,
		},
		Certificate: t.Certificate, Address: t.Address, HostKey: t.HostKey, HostName: t.HostName, Capabilities: t.Capabilities, IdleSeconds: t.IdleSeconds,
		Environment: t.Environment, Destinations: t.Destinations, Record: record, RecordingKey: ready.RecordingKey, KeystrokeKey: ready.KeystrokeKey,
		Emergency: true, Seq: t.Seq,
	}
}
