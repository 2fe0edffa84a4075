package bastion

import (
	"bytes"
	"crypto/rsa"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/algo"
	"postern/internal/control"
)

// maxLifetime is what a user certificate may span: the hour that no policy exceeds, and what a CA may date it back for
// clocks that differ. A longer one was not made by our CA as it is.
const maxLifetime = time.Hour + 5*time.Minute

// Our extensions in user certificates.
const (
	requestExtension = "request@postern"
	auditExtension   = "audit@postern"  // the sessions whose recordings may be read
	viewerExtension  = "viewer@postern" // the key that signed for that, and the last revocation then
	recordingsUser   = "recordings"
)

// grant is a user certificate that passed every check that needs no CA.
type grant struct {
	cert    *ssh.Certificate
	person  string
	request string // empty in an auditor's certificate
	key     string // fingerprint of the admin's key
	sealed  bool   // of a sealed grant
	digest  string // and of which sheet
}

// certificate checks what x/crypto's CertChecker does and everything it leaves out: the type, whose CA, how strong its
// signature is, that principals are named at all, the serial and the lifetime.
func (b *Bastion) certificate(key ssh.PublicKey, from net.Addr) (*grant, error) {
	cert, ok := key.(*ssh.Certificate)
	if !ok {
		return nil, errors.New("a plain key opens nothing here; ask for a certificate: postern request ACCOUNT@HOST --for 20m --reason TEXT")
	}
	digest, sealed, life, err := b.ofSheet(cert)
	switch {
	case cert.CertType != ssh.UserCert:
		return nil, errors.New("this is a host certificate, not a person's")
	case !bytes.Equal(cert.SignatureKey.Marshal(), b.UserCA.Marshal()):
		return nil, errors.New("this certificate is of a CA that this bastion does not know")
	case !algo.Signature(cert.Signature.Format):
		return nil, fmt.Errorf("this certificate is signed with %s, which is too weak", cert.Signature.Format)
	case len(cert.ValidPrincipals) == 0:
		// Everybody, to x/crypto.
		return nil, errors.New("this certificate names no principal")
	case cert.Serial == 0:
		// A revocation list can never name it.
		return nil, errors.New("this certificate has no serial number")
	case err != nil:
		return nil, err
	case cert.ValidBefore < cert.ValidAfter || cert.ValidBefore-cert.ValidAfter > uint64(life/time.Second):
		return nil, errors.New("this certificate is valid for longer than any may be")
	}
	if _, waived := cert.Extensions["no-touch-required"]; waived {
		return nil, errors.New("this certificate waives the touch of its security key")
	}
	if err := b.current(cert); err != nil {
		return nil, err
	}
	if err := strongKey(cert.Key); err != nil {
		return nil, err
	}
	if err := options(cert, from); err != nil {
		return nil, err
	}
	checker := ssh.CertChecker{SupportedCriticalOptions: []string{"source-address", control.SheetOption}, Clock: b.Now}
	if err := checker.CheckCert(cert.ValidPrincipals[0], cert); err != nil {
		return nil, errors.New("this certificate does not verify")
	}
	g := &grant{cert: cert, request: cert.Extensions[requestExtension], key: ssh.FingerprintSHA256(cert.Key), sealed: sealed, digest: digest}
	g.person, _, _ = strings.Cut(cert.KeyId, " ")
	return g, nil
}

func (b *Bastion) current(cert *ssh.Certificate) error {
	now := b.Now()
	if after := time.Unix(int64(cert.ValidAfter), 0); now.Before(after) {
		return fmt.Errorf("your certificate (%s) is not valid before %s", cert.KeyId, after.UTC().Format(time.RFC3339))
	}
	if before := time.Unix(int64(cert.ValidBefore), 0); !now.Before(before) {
		return fmt.Errorf("your certificate (%s) expired %s ago; ask again with: postern request ACCOUNT@HOST --for 20m --reason TEXT",
			cert.KeyId, now.Sub(before).Round(time.Second))
	}
	return nil
}

// options refuses every critical option but source-address, which is matched against the address of the TCP connection: inside a
// jump the client has none of its own.
func options(cert *ssh.Certificate, from net.Addr) error {
	for name, value := range cert.CriticalOptions {
		if name == control.SheetOption {
			continue // ofSheet's
		}
		if name != "source-address" {
			return fmt.Errorf("this certificate has the critical option %q, which this bastion does not know", name)
		}
		if !fromListed(from, value) {
			return fmt.Errorf("your certificate (%s) may not be used from this address", cert.KeyId)
		}
	}
	return nil
}

// fromListed says whether an address is in a list as OpenSSH writes it. What cannot be parsed matches nothing.
func fromListed(from net.Addr, list string) bool {
	tcp, ok := from.(*net.TCPAddr)
	if !ok {
		return false
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	for entry := range strings.SplitSeq(list, ",") {
		if a, err := netip.ParseAddr(entry); err == nil && a.Unmap() == ip {
			return true
		}
		if p, err := netip.ParsePrefix(entry); err == nil && p.Contains(ip) {
			return true
		}
	}
	return false
}

func strongKey(key ssh.PublicKey) error {
	if c, ok := key.(ssh.CryptoPublicKey); ok {
		if r, ok := c.CryptoPublicKey().(*rsa.PublicKey); ok && r.N.BitLen() < 2048 {
			return fmt.Errorf("an RSA key of %d bits is too short", r.N.BitLen())
		}
	}
	return nil
}

// recognise checks a key offered on the outer connection and that it may log in under that name.
func (b *Bastion) recognise(conn ssh.ConnMetadata, key ssh.PublicKey) (*login, error) {
	g, err := b.certificate(key, conn.RemoteAddr())
	if err != nil {
		return nil, err
	}
	l := &login{grant: g}
	l.visitor, _ = conn.(visitor)
	user := conn.User()
	audit, isAudit := g.cert.Extensions[auditExtension]
	switch {
	case user == recordingsUser || isAudit:
		if g.sealed || user != recordingsUser || audit == "" || g.request != "" || !slices.Contains(g.cert.ValidPrincipals, recordingsUser+"@"+b.Name) {
			return nil, fmt.Errorf("recordings are fetched as %s, with a certificate from: postern replay SESSION", recordingsUser)
		}
		l.reader, err = newReader(l, audit, g.cert.Extensions[viewerExtension])
		return l, err
	case g.sealed && user == sheetUser:
		l.sheet = true
		return l, nil
	case g.request == "":
		return nil, errors.New("this certificate names no request")
	case strings.Contains(user, "@"):
		return l, b.principal(g, user)
	}
	return l, nil
}

// principal checks that the certificate is for account@host, where host may be an alias.
func (b *Bastion) principal(g *grant, target string) error {
	at := strings.LastIndexByte(target, '@')
	account, name := target[:at], target[at+1:]
	gw, ok := b.Gateway(name)
	if ok {
		name = gw.Name
	}
	// Whether such a host exists is nothing to tell somebody whose certificate is not for it.
	if !slices.Contains(g.cert.ValidPrincipals, account+"@"+name) {
		return fmt.Errorf("your certificate (%s) is for %s, not for %s", g.cert.KeyId, strings.Join(g.cert.ValidPrincipals, ", "), target)
	}
	if !ok {
		return fmt.Errorf("this bastion has no certificate for the host %s yet; try again in a moment", name)
	}
	return nil
}

func fingerprint(key ssh.PublicKey) string {
	if cert, ok := key.(*ssh.Certificate); ok {
		key = cert.Key
	}
	return ssh.FingerprintSHA256(key)
}
