package story

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"postern/internal/lab"
)

// What the host says has its time in it, by the clock that is ours as well. So the bounds below are exact: a slow machine says less, and nothing later.
const (
	admit = 2 * time.Second
	keep  = 3 * time.Second
)

// outpost is a lab whose CA lives in a network namespace of its own, behind another one that forwards between the two until it is told to drop all
// of it without a word, as a network does that is cut.
type outpost struct {
	*place
	caNet, between string
}

func newOutpost(t *testing.T) *outpost {
	t.Helper()
	tag := strconv.FormatUint(uint64(rand.Uint32()), 36)
	subnet := fmt.Sprintf("10.%d.%d.", 64+rand.IntN(64), rand.IntN(256))
	o := &outpost{caNet: "pca" + tag, between: "pbt" + tag}
	near := "pn" + tag
	t.Cleanup(func() {
		for _, ns := range []string{o.caNet, o.between} {
			_ = exec.Command("ip", "netns", "del", ns).Run()
		}
	})
	for _, ns := range []string{o.caNet, o.between} {
		if out, err := exec.Command("ip", "netns", "add", ns).CombinedOutput(); err != nil {
			t.Fatalf("network namespaces are not allowed here (ip netns add: %v: %s); run this test with CAP_SYS_ADMIN and CAP_NET_ADMIN", err, bytes.TrimSpace(out))
		}
	}
	script := `set -e
ip link add $NEAR type veth peer name near netns $BETWEEN
ip -n $BETWEEN link add far type veth peer name wire netns $CA
ip addr add ${NET}1/30 dev $NEAR; ip -n $BETWEEN addr add ${NET}2/30 dev near
ip -n $BETWEEN addr add ${NET}5/30 dev far; ip -n $CA addr add ${NET}6/30 dev wire
for i in near far lo; do ip -n $BETWEEN link set $i up; done
for i in wire lo; do ip -n $CA link set $i up; done
ip link set $NEAR up
ip netns exec $BETWEEN sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'
ip route add ${NET}4/30 via ${NET}2; ip -n $CA route add default via ${NET}5`
	cmd := exec.Command("sh", "-c", script)
	cmd.Env = append(os.Environ(), "CA="+o.caNet, "BETWEEN="+o.between, "NEAR="+near, "NET="+subnet)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the network between the namespaces: %v: %s", err, bytes.TrimSpace(out))
	}
	o.place = newPlaceIn(t, lab.Config{
		CAHost: subnet + "6", Within: map[string][]string{"ca": {"ip", "netns", "exec", o.caNet}},
		Flags: map[string][]string{"ca": leases(keep)},
	})
	return o
}

func leases(keep time.Duration) []string {
	return []string{"--admit", admit.String(), "--keep", keep.String()}
}

// network lets packets through, or drops them.
func (o *outpost) network(up bool) {
	o.t.Helper()
	forward := map[bool]string{true: "1", false: "0"}[up]
	if out, err := exec.Command("ip", "netns", "exec", o.between, "sh", "-c", "echo "+forward+" > /proc/sys/net/ipv4/ip_forward").CombinedOutput(); err != nil {
		o.t.Fatalf("%v: %s", err, out)
	}
}

// asInside runs postern beside the CA, where the network is never cut.
func (o *outpost) asInside(person string, words ...string) (string, error) {
	argv := append([]string{filepath.Join(o.Dir, "bin", "postern")}, words...)
	if o.caNet != "" {
		argv = append([]string{"ip", "netns", "exec", o.caNet}, argv...)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), o.Env(person)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (o *outpost) revoke(id string) {
	o.t.Helper()
	if out, err := o.asInside("olga", "revoke", id, "--reason", "a test", "--yes"); err != nil {
		o.t.Fatalf("%v: %s", err, out)
	}
}

// talk is a session in which the host says the time, many times a second.
type talk struct {
	t     *testing.T
	id    string // of the request
	cmd   *exec.Cmd
	begun chan struct{}
	ended chan struct{}

	mu     sync.Mutex
	last   time.Time // by the host's clock, which is ours
	end    time.Time
	stderr bytes.Buffer
}

// talks opens a session for a new grant.
func (o *outpost) talks() *talk {
	o.t.Helper()
	asked := o.as("alice", "request", o.Account+"@phi1", "--for", "20m", "--reason", "a test")
	id, _, _ := strings.Cut(asked, " ")
	o.as("bob", "approve", id, "--yes")
	o.as("alice", "certificate", id)
	k := &talk{t: o.t, id: id, begun: make(chan struct{}), ended: make(chan struct{})}
	k.cmd = exec.Command("ssh", "-F", filepath.Join(o.Dir, "alice", "ssh_config"), "phi1", "while date +%s%N; do sleep 0.02; done")
	k.cmd.Env = append(os.Environ(), o.Env("alice")...)
	k.cmd.Stderr = &k.stderr
	out, err := k.cmd.StdoutPipe()
	if err != nil {
		o.t.Fatal(err)
	}
	if err := k.cmd.Start(); err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() { _ = k.cmd.Process.Kill(); <-k.ended })
	go k.read(out)
	select {
	case <-k.begun:
	case <-k.ended:
		o.t.Fatalf("no session: %s", k.stderr.String())
	}
	return k
}

func (k *talk) read(out io.Reader) {
	for lines := bufio.NewScanner(out); lines.Scan(); {
		nanos, err := strconv.ParseInt(lines.Text(), 10, 64)
		if err != nil {
			continue
		}
		k.mu.Lock()
		if k.last.IsZero() {
			close(k.begun)
		}
		k.last = time.Unix(0, nanos)
		k.mu.Unlock()
	}
	_ = k.cmd.Wait()
	k.end = time.Now()
	close(k.ended)
}

// over waits for the end of the session.
func (k *talk) over() time.Time {
	k.t.Helper()
	select {
	case <-k.ended:
	case <-time.After(patience):
		k.t.Fatal("the session goes on")
	}
	return k.end
}

// within waits for the end of the session, but not longer than d.
func (k *talk) within(d time.Duration) {
	select {
	case <-k.ended:
	case <-time.After(d):
	}
}

// speaks waits for a word that the host says from now on.
func (k *talk) speaks(after string) {
	k.t.Helper()
	now := time.Now()
	for end := now.Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		select {
		case <-k.ended:
			k.t.Fatalf("%s: the session ended: %s", after, k.stderr.String())
		default:
		}
		k.mu.Lock()
		last := k.last
		k.mu.Unlock()
		if last.After(now) {
			return
		}
	}
	k.t.Fatalf("%s: nothing passes any more", after)
}

// reaches waits until the bastion lets alice in: its lease is renewed.
func (o *outpost) reaches() {
	o.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		cmd := exec.Command("ssh", "-F", filepath.Join(o.Dir, "alice", "ssh_config"), "phi1", "true")
		cmd.Env = append(os.Environ(), o.Env("alice")...)
		out, _ := cmd.CombinedOutput()
		// In, or refused for another reason. But while it admits still it may have no connection over which to ask.
		log, _ := os.ReadFile(filepath.Join(o.Dir, "log", "bastion.log"))
		connected := bytes.LastIndex(log, []byte("following the CA")) > bytes.LastIndex(log, []byte("no CA"))
		if connected && !bytes.Contains(out, []byte("lost its CA")) {
			return
		}
	}
	o.t.Fatal("the bastion admits nobody, though its CA is back")
}

func (o *outpost) restartCA(keep time.Duration) {
	o.t.Helper()
	if err := o.Kill("ca"); err != nil {
		o.t.Fatal(err)
	}
	o.Flags["ca"] = leases(keep)
	if err := o.Start("ca"); err != nil {
		o.t.Fatal(err)
	}
	o.reaches()
}

func (o *outpost) signal(name string, s syscall.Signal) {
	o.t.Helper()
	if err := o.Signal(name, s); err != nil {
		o.t.Fatal(err)
	}
}

// TestLeases: what a cut network, a stopped CA and a stopped bastion do to who is revoked and to who is not. POSTERN_LEASE_ROUNDS says how often
// each is tried.
func TestLeases(t *testing.T) {
	t.Parallel()
	if asRootOfANamespace(t) {
		return
	}
	o := newOutpost(t)
	rounds := 2
	if n, err := strconv.Atoi(os.Getenv("POSTERN_LEASE_ROUNDS")); err == nil {
		rounds = n
	}
	t.Run("the network is cut", func(t *testing.T) { o.t = t; o.cutNetwork(rounds) })
	t.Run("the bastion is stopped", func(t *testing.T) { o.t = t; o.stopBastion(rounds) })
	t.Run("the CA dies while it revokes", func(t *testing.T) { o.t = t; o.killCA(rounds) })
	t.Run("the CA is stopped", func(t *testing.T) { o.t = t; o.stopCA() })
	t.Run("away for less than keep", func(t *testing.T) { o.t = t; o.shortOutages() })
}

// cutNetwork revokes while the bastion cannot hear of it.
func (o *outpost) cutNetwork(rounds int) {
	for range rounds {
		k := o.talks()
		time.Sleep(rand.N(time.Second)) // anywhere between two pings
		o.network(false)
		cut := time.Now()
		o.revoke(k.id)
		end := k.over()
		o.t.Logf("cut and revoked: out after %s, the last word of the host after %s", end.Sub(cut).Round(time.Millisecond), k.last.Sub(cut).Round(time.Millisecond))
		if in := k.last.Sub(cut); in > keep {
			o.t.Errorf("somebody revoked was in for %s; to keep is %s", in, keep)
		}
		if !strings.Contains(k.stderr.String(), "lost its CA") {
			o.t.Errorf("the person read %q", k.stderr.String())
		}
		o.network(true)
		o.reaches()
	}
}

// stopBastion suspends the bastion past its lease, revokes meanwhile, cuts the network so that it cannot hear of that, and lets it go on.
func (o *outpost) stopBastion(rounds int) {
	for n := range rounds {
		k := o.talks()
		o.signal("bastion", syscall.SIGSTOP)
		stopped := time.Now()
		o.revoke(k.id)
		if n%2 == 0 {
			o.network(false)
		}
		time.Sleep(keep + 200*time.Millisecond - time.Since(stopped)) // the lease is what is tested
		resumed := time.Now()
		o.signal("bastion", syscall.SIGCONT)
		end := k.over()
		o.t.Logf("stopped for %s: out %s after it went on; last word of the host %s before the stop ended", resumed.Sub(stopped).Round(time.Millisecond), end.Sub(resumed).Round(time.Millisecond), resumed.Sub(k.last).Round(time.Millisecond))
		// What the host said before the stop may have been on its way through.
		if late := k.last.Sub(stopped); late > time.Second {
			o.t.Errorf("a word that the host said %s after the bastion was stopped came through", late)
		}
		o.network(true)
		o.reaches()
	}
}

// killCA kills it while it revokes, at any moment. What it decided holds, and is told when it is back.
func (o *outpost) killCA(rounds int) {
	for range rounds {
		k := o.talks()
		revoked := make(chan error, 1)
		go func() {
			_, err := o.asInside("olga", "revoke", k.id, "--reason", "a test", "--yes")
			revoked <- err
		}()
		time.Sleep(rand.N(400 * time.Millisecond))
		if err := o.Kill("ca"); err != nil {
			o.t.Fatal(err)
		}
		acknowledged := <-revoked == nil
		if err := o.Start("ca"); err != nil {
			o.t.Fatal(err)
		}
		state := o.as("alice", "show", k.id, "--json")
		decided := strings.Contains(state, `"state":"revoked"`)
		o.t.Logf("acknowledged %v, decided %v", acknowledged, decided)
		if acknowledged && !decided {
			o.t.Error("a revocation that was acknowledged is forgotten")
		}
		o.reaches()
		if decided {
			k.over()
		}
	}
}

// stopCA stops it with SIGSTOP: its kernel takes connections and answers, it does not.
func (o *outpost) stopCA() {
	k := o.talks()
	o.signal("ca", syscall.SIGSTOP)
	stopped := time.Now()
	took := k.over().Sub(stopped)
	o.t.Logf("out %s after the CA was stopped", took.Round(time.Millisecond))
	if in := k.last.Sub(stopped); in > keep {
		o.t.Errorf("the host was heard for %s after the CA was stopped; to keep is %s", in, keep)
	}
	o.signal("ca", syscall.SIGCONT)
	o.reaches()
}

// shortOutages are not noticed by who is in, and who is not waits.
func (o *outpost) shortOutages() {
	o.restartCA(2 * time.Minute) // longer than a slow machine needs for all of it
	k := o.talks()
	for what, outage := range map[string][2]func(){
		"the network is cut": {func() { o.network(false) }, func() { o.network(true) }},
		"the CA is stopped":  {func() { o.signal("ca", syscall.SIGSTOP) }, func() { o.signal("ca", syscall.SIGCONT) }},
		"the CA restarts":    {func() { o.t.Log(o.Kill("ca")) }, func() { o.t.Log(o.Start("ca")) }},
	} {
		outage[0]()
		time.Sleep(7 * time.Second) // longer than admit, and than the bastion believes in a silent connection; shorter than keep
		if out, err := exec.Command("ssh", "-F", filepath.Join(o.Dir, "alice", "ssh_config"), "phi1", "true").CombinedOutput(); !errors.As(err, new(*exec.ExitError)) || !bytes.Contains(out, []byte("lost its CA")) {
			o.t.Errorf("%s: somebody is let in, %v: %s", what, err, out)
		}
		back := time.Now()
		outage[1]()
		o.reaches()
		o.t.Logf("%s for 7 s: let in again after %s", what, time.Since(back).Round(10*time.Millisecond))
		k.speaks(what)
	}
	revoked := time.Now()
	o.revoke(k.id)
	o.t.Logf("then revoked: out after %s, most of it postern revoke", k.over().Sub(revoked).Round(time.Millisecond))
}
