package bastion

import (
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/recorder"
)

// hostRequests passes the host's requests on in their order, but keeps how the program ended until its output is out.
func (c *channel) hostRequests(reqs <-chan *ssh.Request) {
	defer close(c.hostEnd)
	for req := range reqs {
		switch req.Type {
		case "exit-status", "exit-signal":
			_ = req.Reply(true, nil)
			select {
			case c.exit <- req:
			default: // a second one means nothing
			}
		default:
			c.keep(recorder.TypeRequest, recorder.Request{Name: req.Type, FromHost: true, Payload: req.Payload}.Marshal())
			ok := c.s.kept() && c.s.mayPass(hostWords(req))
			if ok {
				ok, _ = c.client.SendRequest(req.Type, req.WantReply, req.Payload)
			}
			_ = req.Reply(ok, nil)
		}
	}
}

// statusPatience is how long an exit status waits for the rest of the output, which what the program left running may never end.
const statusPatience = 200 * time.Millisecond

// finish ends the admin's half when the program is done: all output, then how it ended, then the end of file, then the close.
func (c *channel) finish() {
	select {
	case <-c.start:
	case <-c.hostEnd:
		c.begins.Lock() // what it said is in the channel still
		c.begins.Unlock()
	}
	output := make(chan struct{})
	go func() { c.out.Wait(); close(output) }()
	exit := c.exited(output)
	if exit != nil && c.s.durable(c.ctx, c.keep(recorder.TypeExit, exitOf(exit).Marshal())) && c.s.kept() && c.s.mayPass(hostWords(exit)) {
		_, _ = c.client.SendRequest(exit.Type, false, exit.Payload)
	}
	<-output
	c.endOfFile()
	<-c.hostEnd
	_ = c.client.Close()
}

// exited waits until the program has ended, and returns how; nil: the host did not say. The end of output that comes before is told to a
// client that does not close at that.
func (c *channel) exited(output <-chan struct{}) (exit *ssh.Request) {
	select {
	case exit = <-c.exit:
		wait(output, statusPatience)
		return exit
	case <-output:
	}
	if !c.closesAtEnd() {
		c.endOfFile()
	}
	select {
	case exit = <-c.exit:
	case <-c.hostEnd:
		select {
		case exit = <-c.exit:
		default:
		}
	}
	return exit
}

// waitsForStatus are clients that never close a channel before they heard how its program ended.
var waitsForStatus = []string{"SSH-2.0-Go", "SSH-2.0-paramiko_"}

// closesAtEnd says that the client may close the channel when it hears of the end of output, as OpenSSH and PuTTY do when both directions have
// ended. x/crypto answers a close at once, and an exit status that comes later is lost: of OpenSSH's multiplexed commands one of four.
func (c *channel) closesAtEnd() bool {
	version := string(c.s.link.ClientVersion())
	return c.inEnd.Load() || !slices.ContainsFunc(waitsForStatus, func(known string) bool { return strings.HasPrefix(version, known) })
}

func exitOf(req *ssh.Request) recorder.Exit {
	var status struct{ Status uint32 }
	var signal struct {
		Name    string
		Core    bool
		Message string
		Lang    string
	}
	if req.Type == "exit-status" {
		_ = ssh.Unmarshal(req.Payload, &status)
		return recorder.Exit{Status: status.Status}
	}
	_ = ssh.Unmarshal(req.Payload, &signal)
	return recorder.Exit{Signal: signal.Name, Core: signal.Core, Message: signal.Message}
}
