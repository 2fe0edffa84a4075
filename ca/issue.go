package ca

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/ca/auditlog"
	"postern/internal/control"
	"postern/internal/store"
	"postern/policy"
)

const (
	// Clocks of bastions and hosts may be behind ours by this much.
	skew = time.Minute
	// sshd looks at a session certificate once, at login.
	sessionLife = 2 * time.Minute
	// An auditor has this long to open the connection that fetches recordings.
	auditLife   = 5 * time.Minute
	gatewayLife = 24 * time.Hour
	hostLife    = 7 * 24 * time.Hour
	// An update does not hold the certificates of hundreds of hosts.
	signedTogether = 50
)

// The names of the CAs, for serials and log entries.
const (
	userCA    = "user"
	sessionCA = "session"
	hostCA    = "host"
	gatewayCA = "gateway"
)

// The extensions that lead from a certificate to its evidence.
const (
	RequestExtension   = "request@postern"
	ApprovalsExtension = "approvals@postern"
	AuditExtension     = "audit@postern"  // the sessions of a view that one bastion keeps
	ViewerExtension    = "viewer@postern" // the key that signed the view, and the last revocation then
)

// Certificate signs a user certificate for a request that has its approvals, over one of the requester's own
// keys. The first one starts the clock of the grant; none outlives it.
func (ca *CA) Certificate(c Caller, id string, pub ssh.PublicKey) (control.Certificate, error) {
	var out control.Certificate
	err := ca.db.Update(func(tx *store.Tx) error {
		r, err := ca.visible(tx, c, id)
		if err != nil {
			return err
		}
		if r.Person != c.Name {
			return refuse("%s belongs to %s; only they can take its certificate", r.ID, r.Person)
		}
		if r.Sheet != nil {
			return refuse("%s is a sealed grant; its requester takes its sheet with: postern sheet take %s --out FILE", r.ID, r.ID)
		}
		if err := ca.ownKey(tx, c.Name, pub); err != nil {
			return err
		}
		if !r.live() {
			return refuse("%s is %s; ask again with: postern request", r.ID, r.State)
		}
		if err := ca.held(tx, r.traits()); err != nil {
			return err
		}
		d, err := ca.stillApproved(tx, r)
		if err != nil {
			return err
		}
		if err := ca.begin(tx, &r, d); err != nil {
			return err
		}
		out, err = ca.signUser(tx, &r, d, pub)
		return err
	})
	return out, err
}

// ownKey says whether pub is a living key of the person, and neither is kept away: a certificate over somebody else's key would let them in.
func (ca *CA) ownKey(tx *store.Tx, person string, pub ssh.PublicKey) error {
	print := ssh.FingerprintSHA256(pub)
	if owner, ok := ca.policy.Load().PersonByKey(print); !ok || owner.Name != person {
		return refuse("key %s is not one of %s's in people.yaml", print, person)
	}
	if err := keyAlive(tx, print); err != nil {
		return err
	}
	return ca.held(tx, control.Traits{Person: person, Keys: []string{print}})
}

// begin starts the clock at the first certificate.
func (ca *CA) begin(tx *store.Tx, r *request, d policy.Decision) error {
	if r.State == control.Granted {
		return nil
	}
	if r.Emergency { // one that was granted at once may wait in the pocket while another falls due
		if err := ca.owesNothing(tx, r.Person); err != nil {
			return err
		}
	}
	now := ca.now().UTC().Truncate(time.Second)
	life := min(time.Duration(r.ForSeconds)*time.Second, d.Max, policy.HardMax)
	r.Began, r.Ends = now, now.Add(life)
	if r.Ends.After(r.NotAfter) {
		r.Ends = r.NotAfter
	}
	r.Ends = ca.closes(now, r.Ends, ca.carries(*r))
	return ca.become(tx, r, control.Granted, "first certificate")
}

func (ca *CA) signUser(tx *store.Tx, r *request, d policy.Decision, pub ssh.PublicKey) (control.Certificate, error) {
	cert := &ssh.Certificate{
		Key: pub, CertType: ssh.UserCert, KeyId: r.Person + " " + r.ID, ValidPrincipals: r.Targets,
		Permissions: ssh.Permissions{
			CriticalOptions: map[string]string{},
			Extensions:      map[string]string{RequestExtension: r.ID, ApprovalsExtension: approvalsDigest(*r)},
		},
	}
	permit(cert, r.Capabilities)
	if d.PinSource {
		cert.CriticalOptions["source-address"] = r.Source
	}
	ca.valid(cert, r.Ends)
	ca.urgent(tx, *r)
	made, err := ca.sign(tx, userCA, cert, auditlog.Certificate{Request: r.ID})
	if err != nil {
		return made, err
	}
	r.Issued = append(r.Issued, issued{CA: userCA, Serial: made.Serial, Until: made.NotAfter, Key: ssh.FingerprintSHA256(pub)})
	made.Request = r.ID
	return made, r.save(tx)
}

// permit adds the extensions that sshd wants for what was granted, and no others.
func permit(cert *ssh.Certificate, capabilities []string) {
	for capability, extension := range map[string]string{
		policy.Shell: "permit-pty", policy.Exec: "permit-pty", // ssh -t gives a command a terminal
		policy.ForwardLocal: "permit-port-forwarding", policy.ForwardRemote: "permit-port-forwarding",
		policy.Agent: "permit-agent-forwarding", policy.X11: "permit-X11-forwarding",
	} {
		if slices.Contains(capabilities, capability) {
			cert.Extensions[extension] = ""
		}
	}
}

// valid bounds a certificate by until. The past minute is for clocks that are behind.
func (ca *CA) valid(cert *ssh.Certificate, until time.Time) {
	cert.ValidAfter = uint64(ca.now().Add(-skew).Unix())
	cert.ValidBefore = uint64(until.Unix())
}

// sign gives the certificate the next serial of that CA, signs it, and writes the row and the leaf.
func (ca *CA) sign(tx *store.Tx, by string, cert *ssh.Certificate, about auditlog.Certificate) (control.Certificate, error) {
	var out control.Certificate
	if cert.CertType == ssh.UserCert && len(cert.ValidPrincipals) == 0 {
		return out, errors.New("a user certificate without principals would be good for every account")
	}
	until := time.Unix(int64(cert.ValidBefore), 0).UTC()
	if !until.After(ca.now()) {
		return out, refuse("its time is over")
	}
	serial, err := following(tx, key(serialRows, by))
	if err != nil {
		return out, err
	}
	cert.Serial = serial
	signer := map[string]ssh.Signer{userCA: ca.keys.User, sessionCA: ca.keys.Session, hostCA: ca.keys.Host, gatewayCA: ca.keys.Gateway}[by]
	if err := cert.SignCert(rand.Reader, signer); err != nil {
		return out, err
	}
	sum := sha256.Sum256(cert.Marshal())
	row := issued{CA: by, Serial: serial, Until: until, Key: ssh.FingerprintSHA256(cert.Key), Request: about.Request, Session: about.Session, Digest: hex.EncodeToString(sum[:])}
	if err := write(tx, numbered(issuedRows+by+"/", serial), row); err != nil {
		return out, err
	}
	about.CA, about.Serial, about.Line = by, serial, line(cert)
	actor, _, _ := strings.Cut(cert.KeyId, " ")
	if err := ca.record(tx, auditlog.Entry{Type: auditlog.TypeCertificate, Actor: actor, Certificate: &about}); err != nil {
		return out, err
	}
	return control.Certificate{Certificate: about.Line, Serial: serial, NotAfter: until}, nil
}

// GatewayCertificates signs the key of a bastion: for its own name, and for every host as the bastion presents
// it. A name of the CA itself is never among them, so no bastion can pose as the CA.
func (ca *CA) GatewayCertificates(c Caller, pub ssh.PublicKey) ([]control.Certificate, error) {
	if c.Kind != "bastion" {
		return nil, refuse("only bastions get gateway certificates; this key belongs to %s %s", c.Kind, c.Name)
	}
	for {
		out, err := ca.presented(c, pub, ca.policy.Load())
		if !errors.Is(err, errOtherPolicy) {
			return out, err
		}
	}
}

// errOtherPolicy is for what begins anew because another policy came into force in between.
var errOtherPolicy = errors.New("another policy is in force")

// presented signs what a bastion presents under one policy.
func (ca *CA) presented(c Caller, pub ssh.PublicKey, set *policy.Set) (out []control.Certificate, err error) {
	b, ok := set.Bastion(c.Name)
	if !ok {
		return nil, refuse("no bastion %s in the policy", c.Name)
	}
	names := [][]string{{b.Name, hostOf(b.Address)}}
	for _, h := range set.Hosts() {
		names = append(names, append([]string{h.Name}, h.Aliases...))
	}
	for part := range slices.Chunk(names, signedTogether) {
		err := ca.db.Update(func(tx *store.Tx) error {
			if ca.policy.Load() != set {
				return errOtherPolicy
			}
			if err := keyAlive(tx, c.Key); err != nil { // it was when the command came
				return err
			}
			for _, principals := range part {
				made, err := ca.signHost(tx, gatewayCA, c.Name, pub, slices.Compact(principals), gatewayLife)
				if err != nil {
					return err
				}
				out = append(out, made)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// HostCertificate signs the host key of a host that is trusted through the host CA.
func (ca *CA) HostCertificate(c Caller, pub ssh.PublicKey) (control.Certificate, error) {
	if c.Kind != "host" {
		return control.Certificate{}, refuse("only hosts get host certificates; this key belongs to %s %s", c.Kind, c.Name)
	}
	var out control.Certificate
	err := ca.db.Update(func(tx *store.Tx) (err error) {
		h, ok := ca.policy.Load().Host(c.Name)
		if !ok || !h.HostCA {
			return refuse("hosts.yaml does not say that %s is trusted through the host CA (trust: host-ca)", c.Name)
		}
		out, err = ca.signHost(tx, hostCA, h.Name, pub, append([]string{h.Name}, h.Aliases...), hostLife)
		return err
	})
	return out, err
}

func (ca *CA) signHost(tx *store.Tx, by, owner string, pub ssh.PublicKey, principals []string, life time.Duration) (control.Certificate, error) {
	if len(principals) == 0 {
		return control.Certificate{}, errors.New("a host certificate without principals would be good for every host")
	}
	cert := &ssh.Certificate{Key: pub, CertType: ssh.HostCert, KeyId: owner + " " + principals[0], ValidPrincipals: principals}
	ca.valid(cert, ca.now().Add(life))
	made, err := ca.sign(tx, by, cert, auditlog.Certificate{})
	made.Host = principals[0]
	return made, err
}

// OwnHostCertificate is the control plane's host certificate, signed and logged anew at each start and each
// rotation. It speaks for the CA's own name only.
func (ca *CA) OwnHostCertificate(life time.Duration) (ssh.Signer, error) {
	cert := &ssh.Certificate{
		Key: ca.keys.SSHHost.PublicKey(), CertType: ssh.HostCert, KeyId: ca.keys.Name, ValidPrincipals: []string{ca.keys.Name},
	}
	ca.valid(cert, ca.now().Add(life))
	err := ca.db.Update(func(tx *store.Tx) error {
		tx.FromReserve(forRevocations) // without it nobody hears of a revocation
		_, err := ca.sign(tx, gatewayCA, cert, auditlog.Certificate{})
		return err
	})
	if err != nil {
		return nil, err
	}
	return ssh.NewCertSigner(cert, ca.keys.SSHHost)
}

func hostOf(address string) string {
	if i := strings.LastIndexByte(address, ':'); i >= 0 {
		return strings.Trim(address[:i], "[]")
	}
	return address
}
