package bastion

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
	"postern/recorder"
)

// limited is a world whose sessions have limits, and what it tells the CA of them.
func limited(t *testing.T, limits string) (*world, chan control.Risk) {
	told := make(chan control.Risk, 100)
	w := newWorld(t, func(w *world, _ *recorder.Config) {
		w.b.Risk = func(r control.Risk) { told <- r }
		w.b.Limits.HoldTime = 300 * time.Millisecond
	})
	w.answer(func(r *control.OpenReply) {
		r.Session.Limits = limits
		r.Capabilities = append(r.Capabilities, "scp-read", "forward-local")
		r.Destinations = []string{"127.0.0.1:*"}
	})
	return w, told
}

// sftpRead asks for all of a file, raw: everything that comes back is counted, not only what is in the file.
func sftpRead(in io.Writer, path string, size int) {
	packet := func(kind byte, fields ...any) {
		b := []byte{kind}
		for _, f := range fields {
			switch f := f.(type) {
			case string:
				b = append(binary.BigEndian.AppendUint32(b, uint32(len(f))), f...)
			case uint32:
				b = binary.BigEndian.AppendUint32(b, f)
			case uint64:
				b = binary.BigEndian.AppendUint64(b, f)
			}
		}
		_, _ = in.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
	}
	packet(1, uint32(3))
	packet(3, uint32(1), path, uint32(1), uint32(0))
	for i := 0; i < size; i += 32768 {
		packet(5, uint32(2+i), "\x00\x00\x00\x00", uint64(i), uint32(32768)) // the first handle of OpenSSH's server
	}
}

// TestNotOneByteMore has the host send more than a session may show, in every way there is.
func TestNotOneByteMore(t *testing.T) {
	t.Parallel()
	const most, size = 300_001, 2_000_000
	for name, begin := range map[string]func(*world, *ssh.Client, *ssh.Session) (io.Reader, error){
		"shell": func(w *world, _ *ssh.Client, s *ssh.Session) (io.Reader, error) {
			out, _ := s.StdoutPipe()
			in, _ := s.StdinPipe()
			if err := s.RequestPty("xterm", 24, 80, nil); err != nil {
				return nil, err
			}
			err := s.Shell()
			fmt.Fprintln(in, "cat "+w.file("big"))
			return out, err
		},
		"exec": func(w *world, _ *ssh.Client, s *ssh.Session) (io.Reader, error) {
			out, _ := s.StdoutPipe()
			return out, s.Start("cat " + w.file("big"))
		},
		"sftp": func(w *world, _ *ssh.Client, s *ssh.Session) (io.Reader, error) {
			out, _ := s.StdoutPipe()
			in, _ := s.StdinPipe()
			err := s.RequestSubsystem("sftp")
			go sftpRead(in, w.file("big"), size)
			return out, err
		},
		"scp": func(w *world, _ *ssh.Client, s *ssh.Session) (io.Reader, error) {
			out, _ := s.StdoutPipe()
			in, _ := s.StdinPipe()
			err := s.Start("scp -f " + w.file("big"))
			go in.Write([]byte{0, 0, 0})
			return out, err
		},
		"forward": func(w *world, c *ssh.Client, _ *ssh.Session) (io.Reader, error) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return nil, err
			}
			go func() {
				defer l.Close()
				if conn, err := l.Accept(); err == nil {
					_, _ = conn.Write(make([]byte, size))
				}
			}()
			return c.Dial("tcp", l.Addr().String())
		},
	} {
		for _, action := range []string{"revoke", "hold"} {
			t.Run(name+"/"+action, func(t *testing.T) {
				limit := fmt.Sprintf("bytes-out %d %s", most, action)
				w, told := limited(t, "bytes-out 1000 log; "+limit)
				if err := os.WriteFile(w.file("big"), []byte(strings.Repeat("0123456789abcde\n", size/16)), 0o600); err != nil {
					t.Fatal(err)
				}
				client, _, err := w.dial(w.account+"@phi1", w.certificate(nil))
				if err != nil {
					t.Fatal(err)
				}
				defer client.Close()
				s, err := client.NewSession()
				if err != nil {
					t.Fatal(err)
				}
				out, err := begin(w, client, s)
				if err != nil {
					t.Fatal(err)
				}
				got, _ := io.Copy(io.Discard, out)
				if got != most {
					t.Errorf("%d bytes were delivered, %d may be", got, most)
				}
				if r := <-told; r.Action != "log" || r.Count <= 1000 {
					t.Errorf("first told: %+v", r)
				}
				if r := <-told; r.Limit != limit || r.Count <= most || r.Session != "S-000001" {
					t.Errorf("told: %+v", r)
				}
				want := map[string]string{"revoke": "revoked", "hold": "held"}[action]
				if end := w.ending(); end.End != want {
					t.Errorf("it ended %q", end.End)
				}
				if _, banner, err := w.dial(w.account+"@phi1", w.certificate(nil)); action == "revoke" && (err == nil || !strings.Contains(banner, "revoked by policy")) {
					t.Errorf("it could come again: %v %q", err, banner)
				}
			})
		}
	}
}
