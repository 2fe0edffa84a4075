package door

import (
	"strings"
	"testing"
	"unicode"

	"golang.org/x/crypto/ssh"
)

// TestNamesInTheLog: what a stranger calls themselves must not look like a line of ours, nor fill the disk.
func TestNamesInTheLog(t *testing.T) {
	addr, log := open(t, &Door{Authorise: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, ssh.ErrNoAuth }})
	for _, name := range []string{"\x1b[2J\r\nlevel=ERROR", "\x7f\u202e\u0085\xff", strings.Repeat("n", 100_000)} {
		config := &ssh.ClientConfig{User: name, Auth: []ssh.AuthMethod{ssh.PublicKeys(newSigner(t))}, HostKeyCallback: ssh.InsecureIgnoreHostKey()}
		if c, err := ssh.Dial("tcp", addr, config); err == nil {
			c.Close()
			t.Errorf("%.20q got in", name)
		}
	}
	for l := range strings.Lines(log.String()) {
		if !strings.HasPrefix(l, "time=") || len(l) > 1000 || strings.ContainsFunc(strings.TrimSuffix(l, "\n"), func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("the log has a line %.200q", l)
		}
	}
}
