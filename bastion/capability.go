package bastion

import (
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"postern/bastion/meter"
	"postern/bastion/scp"
	"postern/bastion/sftp"
	"postern/internal/control"
	"postern/internal/environment"
)

// capabilities are what a grant allows: shell exec sftp-read sftp-write scp-read scp-write forward-local forward-remote agent x11.
type capabilities []string

func (c capabilities) has(name string) bool { return slices.Contains(c, name) }

// verdict is what happens to a channel request.
type verdict struct {
	pass     bool
	starts   bool      // shell, exec or subsystem: the channel has its program
	missing  string    // the capability that would be needed; for a person
	protocol *protocol // what the program's bytes have to be; nil: anything
	expects  string    // the type of the channels that the host may open then
}

// request judges one channel request of a client. Whatever is not listed is answered as a server would that does not know it.
func (c capabilities) request(name string, payload []byte, reply *control.OpenReply) verdict {
	switch name {
	case "shell":
		return c.need("shell", verdict{starts: true})
	case "exec":
		return c.command(stringOf(payload), reply.Record.Files)
	case "subsystem":
		return c.subsystem(stringOf(payload), reply.Record.Files)
	case "pty-req":
		// "ssh -t host command" has a terminal too.
		if c.has("exec") {
			return verdict{pass: true}
		}
		return c.need("shell", verdict{})
	case "env":
		variable := stringOf(payload)
		return verdict{pass: listed(variable, reply.Environment) && !environment.Never(variable)}
	case "window-change", "signal", "break", "xon-xoff", "eow@openssh.com":
		return verdict{pass: true}
	case "auth-agent-req@openssh.com":
		return c.need("agent", verdict{expects: "auth-agent@openssh.com"})
	case "x11-req":
		return c.need("x11", verdict{expects: "x11"})
	}
	return verdict{}
}

func (c capabilities) need(name string, v verdict) verdict {
	if v.pass = c.has(name); !v.pass {
		v.missing = name
	}
	return v
}

// command judges an exec request. What a shell on the host would make of the command is nobody's guess: it passes if anything may, or if it is
// scp beyond doubt, and then its bytes have to be those of scp.
func (c capabilities) command(line, keep string) verdict {
	v := verdict{starts: true, pass: c.has("exec"), missing: "exec"}
	command, ok := scp.ParseCommand(line)
	if !ok {
		return v
	}
	capability := "scp-write"
	if command.Source {
		capability = "scp-read"
	}
	if !c.has(capability) {
		if !v.pass {
			v.missing = capability
		}
		return v
	}
	v.protocol = &protocol{name: "the scp protocol", event: "scp", decoder: func(log *meter.Log) decoder { return scp.New(command, keep, log) }}
	if !v.pass {
		v.protocol.only = capability
	}
	v.pass = true
	return v
}

func (c capabilities) subsystem(name, keep string) verdict {
	if name != "sftp" {
		return verdict{starts: true, missing: "a subsystem other than sftp"}
	}
	config := sftp.Config{Read: c.has("sftp-read"), Write: c.has("sftp-write"), Keep: keep}
	p := &protocol{name: "SFTP", event: "sftp", decoder: func(log *meter.Log) decoder { return sftp.New(config, log) }}
	switch {
	case config.Read && config.Write:
		p.only = "sftp-read with sftp-write"
	case config.Read:
		p.only = "sftp-read"
	case config.Write:
		p.only = "sftp-write"
	default:
		return verdict{starts: true, missing: "sftp-read"}
	}
	return verdict{starts: true, pass: true, protocol: p}
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
