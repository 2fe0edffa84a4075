package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// BenchmarkLogin says what a login costs when sshd tells of it, beside one whose principals are in a file: the two in turn, so that whatever
// else the machine does hits both alike. Processor time is sshd's with all that it starts, and ours, which is the client's and the agent's.
// POSTERN_HOST names the program to measure; without it is this test, which is several times as large.
func BenchmarkLogin(b *testing.B) {
	f := newFollower(b)
	f.install(b)
	config := read(b, f.sshd.file("sshd_config"))
	if program := os.Getenv("POSTERN_HOST"); program != "" {
		me, err := os.Executable()
		if err != nil {
			b.Fatal(err)
		}
		config = strings.Replace(config, asProgram+"=1 "+me, program, 1)
		put(b, f.sshd.file("sshd_config"), config)
	}
	at := strings.Index(config, "AuthorizedPrincipalsCommand ")
	end := at + strings.Index(config[at:], "RevokedKeys ")
	put(b, f.sshd.file("without"), config[:at]+"AuthorizedPrincipalsFile "+f.sshd.file("principals")+"\n"+config[end:])
	key, _ := newSigner(b)
	var with, without, extra []sample
	for n := uint64(1); b.Loop(); n++ {
		cert := newCert(b, f.sshd.ca, key.PublicKey(), ssh.Certificate{Serial: n, CertType: ssh.UserCert, KeyId: "alice R-7K2M4Q S-1",
			ValidPrincipals: []string{f.sshd.account + "@phi1"}})
		signer, err := ssh.NewCertSigner(cert, key)
		if err != nil {
			b.Fatal(err)
		}
		a, z := f.measure(b, "without", signer), f.measure(b, "sshd_config", signer)
		without, with = append(without, a), append(with, z)
		extra = append(extra, sample{z.wall - a.wall, z.processor - a.processor})
	}
	if n := len(f.ending.logins.serials()); n == 0 {
		b.Fatalf("nobody told:\n%s", f.log.String())
	}
	for name, list := range map[string][]sample{"without": without, "with": with, "extra": extra} {
		b.ReportMetric(middle(list, func(s sample) time.Duration { return s.wall }), name+"-ms")
		b.ReportMetric(middle(list, func(s sample) time.Duration { return s.processor }), name+"-cpu-ms")
	}
	b.ReportMetric(0, "ns/op")
}

type sample struct{ wall, processor time.Duration }

func middle(list []sample, of func(sample) time.Duration) float64 {
	var all []time.Duration
	for _, s := range list {
		all = append(all, of(s))
	}
	slices.Sort(all)
	return float64(all[len(all)/2].Microseconds()) / 1000
}

// measure logs in, runs one command and waits until sshd has ended.
func (f *follower) measure(b *testing.B, config string, signer ssh.Signer) sample {
	b.Helper()
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	conn, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	cmd := exec.Command("/usr/sbin/sshd", "-i", "-e", "-f", f.sshd.file(config))
	cmd.Stdin, cmd.Stdout = theirs, theirs
	before, began := used(), time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	theirs.Close()
	c, channels, requests, err := ssh.NewClientConn(conn, "phi1", &ssh.ClientConfig{User: f.sshd.account, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback: ssh.InsecureIgnoreHostKey()})
	if err != nil {
		b.Fatal(err)
	}
	client := ssh.NewClient(c, channels, requests)
	session, err := client.NewSession()
	if err != nil {
		b.Fatal(err)
	}
	if out, err := session.CombinedOutput("exec true"); err != nil {
		b.Fatal(fmt.Errorf("%w: %s", err, out))
	}
	wall := time.Since(began)
	client.Close()
	if err := cmd.Wait(); err != nil && cmd.ProcessState == nil {
		b.Fatal(err)
	}
	return sample{wall, used() - before}
}

// used is the processor time of this program and of all that it has waited for.
func used() (all time.Duration) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var r syscall.Rusage
		syscall.Getrusage(who, &r)
		all += time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	return all
}
