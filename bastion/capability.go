package bastion

import (
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// capabilities are what a grant allows: shell exec sftp-read sftp-write scp-read scp-write forward-local forward-remote agent x11.
type capabilities []string

func (c capabilities) all(names ...string) string {
	for _, n := range names {
		if !slices.Contains(c, n) {
			return n
		}
	}
	return ""
}

// verdict is what happens to a channel request.
type verdict struct {
	pass    bool
	starts  bool   // shell, exec or subsystem: the channel has its program
	missing string // the capability that would be needed; for a person
}

// request judges one channel request of a client. Whatever is not listed is answered as a server would that does not know it.
//
// sftp passes only with both of its capabilities, and scp in its old form only as exec: nothing reads those protocols here yet, and
// what nobody classified falls under the stricter capability.
func (c capabilities) request(name string, payload []byte, environment []string) verdict {
	need := func(starts bool, names ...string) verdict {
		missing := c.all(names...)
		return verdict{pass: missing == "", starts: starts, missing: missing}
	}
	switch name {
	case "shell":
		return need(true, "shell")
	case "exec":
		return need(true, "exec")
	case "subsystem":
		if stringOf(payload) == "sftp" {
			return need(true, "sftp-read", "sftp-write")
		}
		return verdict{starts: true, missing: "a subsystem other than sftp"}
	case "pty-req":
		return need(false, "shell")
	case "env":
		return verdict{pass: listed(stringOf(payload), environment)}
	case "window-change", "signal", "break", "xon-xoff", "eow@openssh.com":
		return verdict{pass: true}
	case "auth-agent-req@openssh.com":
		return verdict{missing: "agent"}
	case "x11-req":
		return verdict{missing: "x11"}
	}
	return verdict{}
}

// channel says which capability a channel type other than session would need. None is granted to anybody yet, because nothing
// records what would pass.
func channelNeeds(kind string) string {
	switch kind {
	case "direct-tcpip", "direct-streamlocal@openssh.com":
		return "forward-local"
	case "tun@openssh.com":
		return "a tunnel"
	}
	return kind
}

// stringOf is the first SSH string of a payload; for env its name.
func stringOf(payload []byte) string {
	var first struct {
		Name string
		Rest []byte `ssh:"rest"`
	}
	if ssh.Unmarshal(payload, &first) != nil {
		return ""
	}
	return first.Name
}

// listed matches names as LANG or LC_*.
func listed(name string, list []string) bool {
	if name == "" {
		return false
	}
	for _, pattern := range list {
		prefix, wild := strings.CutSuffix(strings.TrimSpace(pattern), "*")
		if name == pattern || wild && strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
