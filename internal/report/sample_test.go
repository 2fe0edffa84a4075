package report

import (
	"fmt"
	"os"
	"testing"
	"time"

	"postern/internal/control"
	"postern/recorder/index"
)

// busy is a month as a small hospital may have it.
func busy(t *testing.T) *Report {
	b := newBook(t)
	people := []string{"alice", "adam", "eve", "miriam", "tom"}
	hosts := []string{"ehr-db-1", "ehr-db-2", "ehr-web-1", "lab-results", "imaging-archive-3"}
	reasons := []string{"INC-4412 restore failed", "CHG-0077 certificate of the portal expires", "INC-4502 replication lags behind by two hours", "monthly patching, change 2026-10-P3"}
	type shown struct{ session, kind string }
	var list []shown
	for i := range 46 {
		b.pass(time.Duration(9+i%11) * time.Hour)
		id, who, host := fmt.Sprintf("%06d", 412*i+7), people[i*7%len(people)], hosts[i*3%len(hosts)]
		b.grant(t, "R-"+id, who, "postgres@"+host, reasons[i%len(reasons)], []string{"bob", "dana"}[:1+i%2]...)
		if i%9 == 4 {
			continue
		}
		b.pass(time.Duration(i%7) * time.Minute)
		b.open(t, "S-"+id, "R-"+id, who, "postgres@"+host)
		b.pass(time.Duration(3+i%14)*time.Minute + time.Duration(i)*time.Second)
		end := "closed"
		if i%13 == 6 {
			end = "revoked"
		}
		b.end(t, "S-"+id, end)
		list = append(list, shown{"S-" + id, host})
	}
	b.ask(t, "R-LOOK", "tom", "root@ehr-db-1", "to look around")
	b.vote(t, "R-LOOK", "dana", control.Deny, "say which ticket")
	b.state(t, "R-LOOK", control.Denied)
	r := b.month()
	for i, s := range list {
		var e index.Entry
		for k := range i % 5 {
			exit := uint32(k % 2)
			e.Commands = append(e.Commands, index.Command{At: time.Duration(k*20) * time.Second, Text: []string{"systemctl status postgresql", "psql -c 'select count(*) from replication_slots'", "df -h /var/lib/postgresql", "journalctl -u postgresql --since '1 hour ago' | tail -100"}[k], Seen: k%2 == 0, Exit: map[bool]*uint32{true: &exit}[k%2 == 1]})
		}
		if i%4 == 1 {
			e.Files = append(e.Files, index.File{At: 30 * time.Second, Protocol: "sftp", Operation: "read", Path: "/var/log/postgresql/postgresql-15-main.log", Bytes: uint64(48211 * i), SHA256: hash('a'), Status: "ok"},
				index.File{At: 44 * time.Second, Protocol: "sftp", Operation: "write", Path: "/etc/postgresql/15/main/conf.d/90-replication.conf", Bytes: 2211, SHA256: hash('b'), Status: "ok"})
		}
		if i%11 == 3 {
			e.Files = append(e.Files, index.File{At: 50 * time.Second, Protocol: "sftp", Operation: "remove", Path: "/var/lib/postgresql/15/main/base", Denied: true, Status: "denied"})
		}
		if i%10 == 2 {
			e.Forwards = append(e.Forwards, index.Forward{At: time.Minute, Channel: 3, Kind: "direct-tcpip", To: "127.0.0.1:5432", Sent: 21900, Received: 8_812_000, Seconds: 110, Ended: true})
		}
		r.Take(r.Session(s.session), []index.Entry{e})
	}
	r.Total()
	return r
}

// TestSample writes the page of a busy month where REPORT_SAMPLE says, to be looked at.
func TestSample(t *testing.T) {
	path := os.Getenv("REPORT_SAMPLE")
	if path == "" {
		path = t.TempDir() + "/report.html"
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := busy(t).HTML(f); err != nil {
		t.Fatal(err)
	}
}
