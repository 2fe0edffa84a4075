package play

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/recorder"
)

// tcpdump says what Debian's tcpdump makes of a capture.
func tcpdump(t *testing.T, capture []byte) string {
	t.Helper()
	program, err := exec.LookPath("tcpdump")
	if err != nil {
		t.Fatal("tcpdump is needed; install it with: apt-get install -y --no-install-recommends tcpdump")
	}
	cmd := exec.Command(program, "-nn", "-vv", "-r", "-")
	cmd.Stdin = bytes.NewReader(capture)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func tcpPayload(to string, port uint32, from string, fromPort uint32) []byte {
	return ssh.Marshal(struct {
		To       string
		Port     uint32
		From     string
		FromPort uint32
	}{to, port, from, fromPort})
}

func fromHost(channel uint32, kind string, payload []byte) recorder.Frame {
	return recorder.Frame{Type: recorder.TypeOpen, Channel: channel, Data: recorder.OpenChannel{Kind: kind, FromHost: true, Payload: payload}.Marshal()}
}

func TestPcapng(t *testing.T) {
	ended := func(channel uint32, why string) recorder.Frame {
		return told(channel, 0, recorder.EventForward, recorder.Forward{Ended: true, Why: why})
	}
	for _, test := range []struct {
		name   string
		frames []recorder.Frame
		flows  int
		want   []string
	}{
		{"local", []recorder.Frame{
			opened(1, "direct-tcpip", tcpPayload("10.0.0.5", 5432, "127.0.0.1", 40001)), data(1, 0, "select"), data(1, 1, "row"),
			frame(recorder.TypeEOF, 1), extent(1, 1, recorder.Extent{Offset: 3, Length: 50_000, Kept: []byte("sample")}), ended(1, ""), frame(recorder.TypeClose, 1),
		}, 1, []string{
			"127.0.0.1.40001 > 10.0.0.5.5432: Flags [S]", "127.0.0.1.40001 > 10.0.0.5.5432: Flags [P.]|length 6", "10.0.0.5.5432 > 127.0.0.1.40001: Flags [P.]|length 3",
			"127.0.0.1.40001 > 10.0.0.5.5432: Flags [F.]", "10.0.0.5.5432 > 127.0.0.1.40001: Flags [P.]|length 32768", "10.0.0.5.5432 > 127.0.0.1.40001: Flags [F.]",
		}},
		{"remote", []recorder.Frame{
			fromHost(1, "forwarded-tcpip", tcpPayload("localhost", 8080, "::1", 50000)), data(1, 1, "GET"), data(1, 0, "200"), frame(recorder.TypeClose, 1),
		}, 1, []string{"::1.50000 > 2001:db8::1.8080: Flags [S]", "::1.50000 > 2001:db8::1.8080: Flags [P.]|length 3", "2001:db8::1.8080 > ::1.50000: Flags [P.]|length 3"}},
		{"socket", []recorder.Frame{
			opened(5, "direct-streamlocal@openssh.com", ssh.Marshal(struct {
				Path, Reserved string
				Port           uint32
			}{"/run/db.sock", "", 0})), data(5, 0, "hello"),
		}, 1, []string{"192.0.2.1.1029 > 192.0.2.2.0: Flags [P.]|length 5"}},
		{"remote socket", []recorder.Frame{fromHost(5, "forwarded-streamlocal@openssh.com", ssh.Marshal(struct{ Path, Reserved string }{"/run/me.sock", ""})), data(5, 1, "hello")},
			1, []string{"192.0.2.1.1029 > 192.0.2.2.0: Flags [P.]|length 5"}},
		{"display", []recorder.Frame{fromHost(2, "x11", ssh.Marshal(struct {
			From string
			Port uint32
		}{"127.0.0.1", 41000})), extent(2, 1, recorder.Extent{Length: 12})}, 1, []string{"127.0.0.1.41000 > 192.0.2.1.6000: Flags [P.]|length 12"}},
		{"refused by the host", []recorder.Frame{opened(1, "direct-tcpip", tcpPayload("10.0.0.5", 1, "127.0.0.1", 2)), ended(1, "connection refused"), frame(recorder.TypeClose, 1)},
			1, []string{"127.0.0.1.2 > 10.0.0.5.1: Flags [S]", "10.0.0.5.1 > 127.0.0.1.2: Flags [R.]"}},
		{"nonsense", []recorder.Frame{opened(1, "direct-tcpip", []byte("?")), opened(2, "direct-tcpip", tcpPayload("10.0.0.5", 70000, "127.0.0.1", 1<<31)), data(2, 0, "x")},
			2, []string{"192.0.2.1.0 > 192.0.2.1.0: Flags [S]", "127.0.0.1.0 > 10.0.0.5.0: Flags [P.]|length 1"}},
		{"not forwards", []recorder.Frame{opened(1, "session", nil), data(1, 1, "x"), fromHost(2, "auth-agent@openssh.com", nil), data(2, 1, "y")}, 0, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			n, err := Pcapng(record(t, test.frames...).open(t, false), &out)
			if err != nil || n != test.flows {
				t.Fatalf("%d connections, %v", n, err)
			}
			text := tcpdump(t, out.Bytes())
			if strings.Contains(text, "incorrect") || strings.Contains(text, "bad") {
				t.Errorf("tcpdump finds fault with it:\n%s", text)
			}
			rest := text
			for _, want := range test.want { // in this order
				begin, end, _ := strings.Cut(want, "|")
				_, after, found := strings.Cut(rest, begin)
				line, _, _ := strings.Cut(after, "\n")
				if !found || !strings.Contains(line, end) {
					t.Fatalf("%q does not come after that in\n%s", want, text)
				}
				rest = after
			}
			if test.flows == 0 && text != "" {
				t.Errorf("there is\n%s", text)
			}
		})
	}
}

func TestPcapngTime(t *testing.T) {
	r := record(t, after(90*time.Second, opened(1, "direct-tcpip", tcpPayload("10.0.0.5", 1, "127.0.0.1", 2))))
	var out bytes.Buffer
	reader := r.open(t, false)
	if _, err := Pcapng(reader, &out); err != nil {
		t.Fatal(err)
	}
	when := reader.Header().Started.Add(time.Hour + 90*time.Second).Local().Format("15:04:05.000000")
	if text := tcpdump(t, out.Bytes()); !strings.HasPrefix(text, when) {
		t.Errorf("at %s:\n%s", when, text)
	}
}
