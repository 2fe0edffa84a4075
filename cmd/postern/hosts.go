package main

import (
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"postern/internal/control"
)

var hostsCommand = &cli.Command{
	Name:   "hosts",
	Usage:  "how the hosts stand: whose revocation list is old, whose certificate ends, who is silent",
	Flags:  []cli.Flag{jsonFlag},
	Action: listing(func(hosts []control.HostStatus) error { return printHosts(hosts, time.Now()) }, "hosts"),
}

// printHosts colours whole lines after they were aligned, because a terminal does not count the escapes and the table would.
func printHosts(hosts []control.HostStatus, now time.Time) error {
	rows := [][]string{{"HOST", "STATE", "KRL", "WRITTEN", "CERTIFICATE", "LOGINS", "LAST WORD", ""}}
	for _, h := range hosts {
		rows = append(rows, hostRow(h, now))
	}
	return colouredTable(os.Stdout, rows, func(n int) string {
		switch hosts[n].State {
		case control.HostOld, control.HostSilent:
			return red
		case control.HostCertificate:
			return yellow
		}
		return ""
	})
}

func hostRow(h control.HostStatus, now time.Time) []string {
	row := []string{h.Host, h.State, "-", "-", "-", "-", "never", h.Why}
	if h.At.IsZero() {
		if h.State == control.HostUnmanaged {
			row[6] = "-"
		}
		return row
	}
	row[6] = since(h.At, now)
	if len(h.Logins) > 0 {
		row[5] = fmt.Sprint(len(h.Logins))
	}
	if !h.KRLMissing {
		row[2] = fmt.Sprintf("%d of %d", h.KRLVersion, h.CAVersion)
		row[3] = since(h.KRLWritten, now)
	}
	if !h.CertificateEnds.IsZero() {
		row[4] = "until " + h.CertificateEnds.UTC().Format("2006-01-02 15:04Z")
	}
	return row
}

// since is how long ago something was; other machines' clocks may be ahead.
func since(at, now time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return max(0, now.Sub(at)).Truncate(time.Second).String() + " ago"
}
