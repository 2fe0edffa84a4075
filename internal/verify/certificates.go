package verify

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/ca/auditlog"
	"postern/internal/algo"
	"postern/internal/control"
)

// The CAs, as certificate leaves name them.
const (
	userCA    = "user"
	sessionCA = "session"
	hostCA    = "host"
	gatewayCA = "gateway"
)

// How long certificates may live, and how far clocks may be apart.
const (
	skew        = time.Minute
	rounding    = 2 * time.Second // certificates have whole seconds, and signing takes a moment
	sessionLife = 2 * time.Minute
	auditLife   = 5 * time.Minute
	machineLife = 30 * 24 * time.Hour
)

func (v *verifier) certificate(issued auditlog.Certificate, actor string, at time.Time) {
	what := fmt.Sprintf("%s certificate %d", issued.CA, issued.Serial)
	last, known := v.report.Certificates[issued.CA]
	if issued.Serial != last+1 && !v.partial {
		v.fail("%s follows %d: serials are dense, so one was signed and not logged", what, last)
	}
	if issued.Serial > last || !known {
		v.report.Certificates[issued.CA] = issued.Serial
	}
	cert, err := v.parse(issued)
	if err == nil {
		if who, _, _ := strings.Cut(cert.KeyId, " "); who != actor {
			v.fail("%s: it is logged as of %.60q, and it is of %.60q", what, actor, who)
		}
		err = v.signedByCA(issued, cert, at)
	}
	if err == nil {
		err = v.purpose(issued, cert, at)
	}
	if err != nil {
		v.fail("%s: %v", what, err)
	}
}

// moment is a time of a certificate. "For ever" is all ones, which would be before 1970 if one let it wrap around.
func moment(seconds uint64) time.Time { return time.Unix(int64(min(seconds, 1<<40)), 0) }

func (v *verifier) parse(issued auditlog.Certificate) (*ssh.Certificate, error) {
	key, err := parseKey(issued.Line)
	if err != nil {
		return nil, err
	}
	cert, ok := key.(*ssh.Certificate)
	if !ok {
		return nil, errors.New("it is a plain key")
	}
	return cert, nil
}

func (v *verifier) signedByCA(issued auditlog.Certificate, cert *ssh.Certificate, at time.Time) error {
	trusted := map[string]ssh.PublicKey{userCA: v.keys.User, sessionCA: v.keys.Session, hostCA: v.keys.Host, gatewayCA: v.keys.Gateway}[issued.CA]
	wanted := map[string]uint32{userCA: ssh.UserCert, sessionCA: ssh.UserCert, hostCA: ssh.HostCert, gatewayCA: ssh.HostCert}[issued.CA]
	switch {
	case !same(cert.SignatureKey, trusted):
		return fmt.Errorf("it is not signed by the %s CA", issued.CA)
	case cert.CertType != wanted:
		return errors.New("it is of the wrong type")
	case cert.Serial != issued.Serial:
		return fmt.Errorf("its serial is %d", cert.Serial)
	case !algo.Signature(cert.Signature.Format):
		return fmt.Errorf("it is signed with %s", cert.Signature.Format)
	case len(cert.ValidPrincipals) == 0:
		return errors.New("it names nobody, so it is good for everybody")
	}
	if err := v.ofSheet(issued, cert); err != nil {
		return err
	}
	checker := ssh.CertChecker{Clock: func() time.Time { return at }, SupportedCriticalOptions: []string{"source-address", control.SheetOption}}
	return checker.CheckCert(cert.ValidPrincipals[0], cert)
}

// purpose checks a certificate against what it was made for.
func (v *verifier) purpose(issued auditlog.Certificate, cert *ssh.Certificate, at time.Time) error {
	switch {
	case issued.CA == hostCA || issued.CA == gatewayCA:
		return v.machineCertificate(issued, cert, at)
	case issued.CA == userCA && issued.Request == "":
		return v.auditCertificate(issued, cert, at)
	}
	r := v.requests[issued.Request]
	if r == nil {
		return fmt.Errorf("for request %q, which never was", issued.Request)
	}
	if err := v.grantHolds(r, at); err != nil {
		return err
	}
	if err := fits(r, cert); err != nil {
		return err
	}
	if r.Sheet != nil {
		return v.sheetCertificate(r, issued, cert, at)
	}
	if issued.CA == sessionCA {
		return v.sessionCertificate(r, issued, cert, at)
	}
	traits := r.traits()
	traits.Keys = append(traits.Keys, ssh.FingerprintSHA256(cert.Key))
	if err := v.held(traits); err != nil {
		return err
	}
	return v.userCertificate(r, cert)
}

// grantHolds says whether anything may be signed for the request at that time.
func (v *verifier) grantHolds(r *request, at time.Time) error {
	switch {
	case r.State != control.Granted:
		return fmt.Errorf("%s was %s then", r.ID, r.State)
	case r.Ends.IsZero() || !at.Before(r.Ends.Add(rounding)):
		return fmt.Errorf("%s was over then", r.ID)
	case !v.needsMet(r):
		return fmt.Errorf("%s lacked approvals then", r.ID)
	}
	return v.approvalsLive(r)
}

// fits checks what user and session certificates have in common: lifetime, evidence, and nothing that was not granted.
func fits(r *request, cert *ssh.Certificate) error {
	if end := moment(cert.ValidBefore); end.After(r.Ends) || end.After(r.NotAfter) {
		return fmt.Errorf("it outlives the grant, which ends %s", r.Ends.UTC().Format(time.RFC3339))
	}
	if moment(cert.ValidAfter).Before(r.Began.Add(-skew - rounding)) {
		return errors.New("it begins before the grant")
	}
	permits := map[string][]string{
		"permit-pty": {"shell", "exec"}, "permit-port-forwarding": {"forward-local", "forward-remote"},
		"permit-agent-forwarding": {"agent"}, "permit-X11-forwarding": {"x11"},
	}
	for name, value := range cert.Extensions {
		switch name {
		case "request@postern":
			if value != r.ID {
				return fmt.Errorf("it points to request %q", value)
			}
		case "approvals@postern":
			if value != r.approvalsDigest() {
				return errors.New("it points to other approvals")
			}
		default:
			granted := func(capability string) bool { return slices.Contains(r.Capabilities, capability) }
			if !slices.ContainsFunc(permits[name], granted) {
				return fmt.Errorf("it carries %s, which was not granted", name)
			}
		}
	}
	for name := range cert.CriticalOptions {
		if name != "source-address" && (name != control.SheetOption || r.Sheet == nil) {
			return fmt.Errorf("it carries the option %s", name)
		}
	}
	return nil
}

func (v *verifier) userCertificate(r *request, cert *ssh.Certificate) error {
	fingerprint := ssh.FingerprintSHA256(cert.Key)
	switch {
	case !v.policy.owns(r.Person, cert.Key):
		return fmt.Errorf("it is over key %s, which is not %s's", fingerprint, r.Person)
	case v.dead[fingerprint]:
		return fmt.Errorf("it is over key %s, which was revoked", fingerprint)
	case cert.KeyId != r.Person+" "+r.ID:
		return fmt.Errorf("its key ID is %q", cert.KeyId)
	case !slices.Equal(cert.ValidPrincipals, r.Targets):
		return fmt.Errorf("it is for %s, asked was %s", strings.Join(cert.ValidPrincipals, " "), strings.Join(r.Targets, " "))
	case cert.Extensions["request@postern"] == "" || cert.Extensions["approvals@postern"] == "":
		return errors.New("it does not point to its request and approvals")
	}
	r.serials[cert.Serial] = cert
	return nil
}

// sessionCertificate is remembered until the session leaf of the same transaction claims it.
func (v *verifier) sessionCertificate(r *request, issued auditlog.Certificate, cert *ssh.Certificate, at time.Time) error {
	switch {
	case issued.Session == "":
		return errors.New("it is for no session")
	case v.unclaimed[issued.Session] != nil || v.sessions[issued.Session] != nil:
		return fmt.Errorf("session %s has one already", issued.Session)
	case cert.KeyId != r.Person+" "+r.ID+" "+issued.Session:
		return fmt.Errorf("its key ID is %q", cert.KeyId)
	case len(cert.ValidPrincipals) != 1 || !slices.Contains(r.Targets, cert.ValidPrincipals[0]):
		return fmt.Errorf("it is for %s, granted was %s", strings.Join(cert.ValidPrincipals, " "), strings.Join(r.Targets, " "))
	case moment(cert.ValidBefore).After(at.Add(sessionLife + rounding)):
		return fmt.Errorf("it lives longer than %s", sessionLife)
	case cert.CriticalOptions["source-address"] == "":
		return errors.New("it is good from every address")
	}
	v.unclaimed[issued.Session] = &claim{leaf: v.at, request: r.ID, target: cert.ValidPrincipals[0], serial: cert.Serial}
	return nil
}

// claim is a session certificate whose session leaf has not come yet.
type claim struct {
	leaf            int64
	request, target string
	serial          uint64
}

// machineCertificate names hosts and bastions of the policy in force only, and the CA only alone.
func (v *verifier) machineCertificate(issued auditlog.Certificate, cert *ssh.Certificate, at time.Time) error {
	if moment(cert.ValidBefore).After(at.Add(machineLife)) {
		return fmt.Errorf("it lives longer than %s", machineLife)
	}
	if slices.Contains(cert.ValidPrincipals, v.ca) {
		if issued.CA != gatewayCA || len(cert.ValidPrincipals) != 1 || cert.KeyId != v.ca {
			return errors.New("it lets something else pose as the CA")
		}
		return nil
	}
	name := cert.ValidPrincipals[0]
	trust, host := v.policy.hosts[name]
	bastion := v.policy.bastions[name] != nil
	switch {
	case issued.CA == hostCA && (!host || trust != "host-ca"):
		return fmt.Errorf("it is for %s, which the policy does not trust through the host CA", name)
	case issued.CA == hostCA && slices.ContainsFunc(cert.ValidPrincipals[1:], func(other string) bool { return other != name && v.policy.hosts[other] != "" }):
		return fmt.Errorf("it lets %s pose as another host of the policy: it is for %s", name, strings.Join(cert.ValidPrincipals, " "))
	case issued.CA == gatewayCA && !host && !bastion:
		return fmt.Errorf("it is for %s, which the policy does not know", name)
	}
	return nil
}
