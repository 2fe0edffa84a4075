package agent

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"

	"postern/recorder"
)

// request is what was asked, and is not answered yet.
type request struct {
	kind byte
	use  recorder.AgentUse
}

// names of what is never let through. What is not here is told by its number.
var names = map[byte]string{
	1:  "list (version 1)",
	3:  "challenge (version 1)",
	7:  "add (version 1)",
	8:  "remove (version 1)",
	9:  "remove all (version 1)",
	17: "add",
	18: "remove",
	19: "remove all",
	20: "add smartcard",
	21: "remove smartcard",
	22: "lock",
	23: "unlock",
	24: "add constrained (version 1)",
	25: "add constrained",
	26: "add smartcard constrained",
}

// extensions are those that change nothing in the agent but what this one connection to it may do.
var extensions = map[string]bool{"session-bind@openssh.com": true, "query": true}

// read judges the contents of a packet. What is not well-formed is denied, too.
func read(b []byte) request {
	r := request{kind: b[0], use: recorder.AgentUse{Denied: true}}
	switch r.kind {
	case requestIdentities:
		r.use.Request = "list"
		r.use.Denied = len(b) > 1
	case signRequest:
		r.sign(b)
	case extension:
		r.extension(b)
	default:
		r.use.Request = names[r.kind]
		if r.use.Request == "" {
			r.use.Request = fmt.Sprintf("kind %d", r.kind)
		}
	}
	return r
}

func (r *request) sign(b []byte) {
	var asked struct {
		Key   []byte `sshtype:"13"`
		Data  []byte
		Flags uint32
	}
	r.use.Request = "sign"
	if ssh.Unmarshal(b, &asked) != nil {
		return
	}
	r.use.Key = fingerprint(asked.Key)
	purpose, ours := purposeOf(asked.Data)
	r.use.For, r.use.Denied = purpose, ours
}

func (r *request) extension(b []byte) {
	var asked struct {
		Name string `sshtype:"27"`
		Rest []byte `ssh:"rest"`
	}
	if ssh.Unmarshal(b, &asked) != nil {
		r.use.Request = "extension"
		return
	}
	r.use.Request = "extension " + named(asked.Name)
	r.use.Denied = !extensions[asked.Name]
}

// fingerprint is that of the key, also where the agent knows it by a certificate.
func fingerprint(blob []byte) string {
	key, err := ssh.ParsePublicKey(blob)
	if cert, ok := key.(*ssh.Certificate); err == nil && ok {
		key = cert.Key
	}
	if err != nil { // an algorithm that we do not know: the same by hand
		sum := sha256.Sum256(blob)
		return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
	}
	return ssh.FingerprintSHA256(key)
}

// purposeOf says what data is that somebody wants a signature for, where it says so itself, and whether postern would believe the signature.
// What is signed for a login or with SSHSIG begins as is read here, or it is not valid.
func purposeOf(data []byte) (purpose string, ours bool) {
	if rest, found := bytes.CutPrefix(data, []byte("SSHSIG")); found {
		var signature struct {
			Namespace string
			Rest      []byte `ssh:"rest"`
		}
		if ssh.Unmarshal(rest, &signature) != nil {
			return "", false
		}
		return "signature for " + named(signature.Namespace), strings.HasSuffix(signature.Namespace, ourNamespaceSuffix)
	}
	var login struct { // RFC 4252 section 7
		Session []byte
		Kind    byte
		User    string
		Service string
		Method  string
		Rest    []byte `ssh:"rest"`
	}
	if ssh.Unmarshal(data, &login) != nil || login.Kind != 50 || !strings.HasPrefix(login.Method, "publickey") {
		return "", false
	}
	return "login as " + named(login.User), false
}

// named is a name of somebody else in an event.
func named(s string) string {
	return string(bytes.ToValidUTF8([]byte(s[:min(len(s), mostNamed)]), []byte("\ufffd")))
}

// pending is the request before its answer.
func (r request) pending() recorder.AgentUse {
	use := r.use
	use.Pending = true
	return use
}

// answered says whether an answer of that kind says yes, and whether it is one at all.
func (r request) answered(kind byte) (ok, known bool) {
	switch kind {
	case failure, failureOfSSHCom, failureOfVersion2:
		return false, true
	case extensionFailure:
		return false, r.kind == extension
	case success, extensionResponse:
		return true, r.kind == extension
	case identitiesAnswer:
		return true, r.kind == requestIdentities
	case signResponse:
		return true, r.kind == signRequest
	}
	return false, false
}
