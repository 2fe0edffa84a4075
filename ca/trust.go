package ca

import (
	"postern/ca/auditlog"
	"postern/ca/keys"
	"postern/internal/control"
)

// KeysTrust is the part of [CA.Trust] that the keys alone tell: what must reach every machine before the CA runs.
func KeysTrust(set *keys.Set) (control.Trust, error) {
	signer, err := auditlog.NewSigner(set.Name, set.Log)
	if err != nil {
		return control.Trust{}, err
	}
	gateway := line(set.Gateway.PublicKey())
	return control.Trust{
		Name: set.Name, Version: "1",
		UserCA: line(set.User.PublicKey()), SessionCA: line(set.Session.PublicKey()),
		HostCA: line(set.Host.PublicKey()), GatewayCA: gateway, Log: signer.VerifierKey(),
		KnownHosts: []string{"@cert-authority * " + gateway},
	}, nil
}

// Trust is what everybody may know.
func (ca *CA) Trust() (control.Trust, error) {
	t, err := KeysTrust(ca.keys)
	if err != nil {
		return t, err
	}
	set := ca.policy.Load()
	t.Aliases = map[string]string{}
	for _, b := range set.Bastions() {
		t.Bastions = append(t.Bastions, control.Place{Name: b.Name, Address: b.Address, Key: b.Key.Line})
	}
	for _, h := range set.Hosts() {
		t.Hosts = append(append(t.Hosts, h.Name), h.Aliases...)
		for _, alias := range h.Aliases {
			t.Aliases[alias] = h.Name
		}
	}
	return t, nil
}
