package web

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"postern/internal/control"
	"postern/recorder"
)

// restore is a session with everything in it: alice restores a table, looks about, copies files, and is refused.
func (w *world) restore(t testing.TB) control.Session {
	k := w.record(t, "S-8CHQ2M7KXA", "alice", "postgres@ehr-db-1", monday)
	k.terminal(0, 100, 30)
	k.wait(400 * time.Millisecond)
	k.print(0, "Linux ehr-db-1 6.1.0-31-amd64 #1 SMP PREEMPT_DYNAMIC Debian 6.1.128-1 x86_64\r\n\r\nLast login: Sun Nov 15 22:41:03 2026 from 10.20.0.4\r\n")
	k.typed(0, "uptime", " 09:12:10 up 41 days,  3:02,  1 user,  load average: 0.42, 0.38, 0.31\n")
	k.wait(3 * time.Second)
	k.typed(0, "ls -la --color=always /var/lib/postgresql/backups", listing())
	k.wait(8 * time.Second)
	k.typed(0, `psql ehr -c "select count(*), max(updated_at) from encounter"`, " count  |          max\n--------+------------------------\n 184213 | 2026-11-16 02:58:41+00\n(1 row)\n\n")
	k.wait(95 * time.Second)
	edit(k)
	k.typed(0, "pg_restore --verbose --table=encounter -d ehr backups/encounter-2026-11-15.dump", restoring())
	k.wait(20 * time.Second)
	copies(k)
	k.wait(30 * time.Second)
	k.request(0, "window-change", struct{ Columns, Rows, Width, Height uint32 }{120, 34, 0, 0})
	k.typed(0, "tail -n 5 /var/log/postgresql/postgresql-16-main.log", "2026-11-16 09:15:58.114 UTC [8812] LOG:  checkpoint starting: time\n"+
		"2026-11-16 09:16:02.871 UTC [8812] LOG:  checkpoint complete: wrote 4413 buffers (26.9%)\n2026-11-16 09:16:04.020 UTC [9127] \x1b[31mERROR:  duplicate key value violates unique constraint \"encounter_pkey\"\x1b[0m\n"+
		"2026-11-16 09:16:04.020 UTC [9127] DETAIL:  Key (id)=(184213) already exists.\n2026-11-16 09:16:09.552 UTC [9127] LOG:  duration: 5512.031 ms\n")
	k.wait(60 * time.Second).note("5 minutes are left")
	k.wait(40 * time.Second)
	k.typed(0, "exit", "logout\n")
	k.exit(0, 0)
	k.wait(50 * time.Millisecond)
	s := k.end("closed")
	w.asked(t, s, "INC-4412: the encounter table must be restored from last night’s backup", "bob", "dora")
	return s
}

func listing() string {
	var b strings.Builder
	b.WriteString("total 4312204\n")
	for day := 9; day <= 15; day++ {
		fmt.Fprintf(&b, "-rw-r----- 1 postgres postgres %9d Nov %2d 03:00 \x1b[1;31mencounter-2026-11-%02d.dump\x1b[0m\n", 612034117+day*1117, day, day)
	}
	b.WriteString("drwxr-x--- 2 postgres postgres      4096 Nov 15 03:00 \x1b[1;34mwal\x1b[0m\n")
	return b.String()
}

func restoring() string {
	var b strings.Builder
	for i, step := range []string{"connecting to database for restore", "dropping TABLE encounter", "creating TABLE \"public.encounter\"", "processing data for table \"public.encounter\"",
		"creating CONSTRAINT \"public.encounter encounter_pkey\"", "creating INDEX \"public.encounter_patient_idx\"", "creating INDEX \"public.encounter_updated_idx\""} {
		fmt.Fprintf(&b, "pg_restore: %s\n", step)
		for range i * 3 {
			fmt.Fprintf(&b, "pg_restore: \x1b[2m… %d rows\x1b[0m\n", 184213*i/6)
		}
	}
	return b.String()
}

// edit is a while in a full screen editor.
func edit(k *take) {
	k.print(0, prompt)
	k.wait(time.Second)
	for _, letter := range "vim restore.sql" {
		k.print(0, string(letter))
		k.wait(80 * time.Millisecond)
	}
	k.print(0, "\r\n\x1b[?2004l\x1b[?1049h\x1b[22;0;0t\x1b[1;30r\x1b[H\x1b[2J")
	lines := []string{"\x1b[33mBEGIN\x1b[0m;", "", "\x1b[36m-- last night's backup wins over what came after\x1b[0m", "\x1b[33mDELETE FROM\x1b[0m encounter", "  \x1b[33mWHERE\x1b[0m updated_at > \x1b[32m'2026-11-15 03:00'\x1b[0m;",
		"", "\x1b[33mINSERT INTO\x1b[0m encounter", "  \x1b[33mSELECT\x1b[0m * \x1b[33mFROM\x1b[0m staging.encounter;", "", "\x1b[33mCOMMIT\x1b[0m;"}
	for i, line := range lines {
		k.print(0, fmt.Sprintf("\x1b[%d;1H\x1b[33m%4d \x1b[0m%s", i+1, i+1, line))
		k.wait(6 * time.Millisecond)
	}
	for row := len(lines) + 1; row < 30; row++ {
		k.print(0, fmt.Sprintf("\x1b[%d;1H\x1b[94m~\x1b[0m", row))
	}
	k.print(0, "\x1b[30;1H\x1b[7m restore.sql                                                                    10,7          All \x1b[0m\x1b[10;13H")
	k.wait(25*time.Second).print(0, "\x1b[30;1H\x1b[K:wq")
	k.wait(800*time.Millisecond).print(0, "\r\x1b[r\x1b[?1049l")
}

// copies are files over sftp on a channel beside the shell, a forward, and what was refused.
func copies(k *take) {
	k.channel(1)
	k.request(1, "subsystem", struct{ Text string }{"sftp"})
	k.event(1, recorder.EventProtocol, recorder.Protocol{Name: "sftp"})
	sum := sha256.Sum256([]byte("restore.sql"))
	k.event(1, recorder.EventFile, recorder.File{Number: 1, Protocol: "sftp", Path: "/home/postgres/restore.sql", Access: "write create truncate", Mode: 0o600,
		Written: &recorder.Transfer{Bytes: 412, SHA256: hex.EncodeToString(sum[:]), End: true}, Keep: "full", Status: "ok"})
	k.wait(6 * time.Second)
	sum = sha256.Sum256([]byte("encounter"))
	k.event(1, recorder.EventFile, recorder.File{Number: 2, Protocol: "sftp", Path: "/var/lib/postgresql/exports/encounter-check.csv", Access: "read",
		Read: &recorder.Transfer{Bytes: 48211904, SHA256: hex.EncodeToString(sum[:]), End: true}, Keep: "hash", Status: "ok"})
	k.wait(4 * time.Second)
	k.event(1, recorder.EventOperation, recorder.Operation{Number: 9, Name: "rename", Path: "/var/lib/postgresql/exports/encounter-check.csv", To: "/var/lib/postgresql/exports/done.csv", Status: "ok"})
	k.wait(2 * time.Second)
	k.event(1, recorder.EventFile, recorder.File{Number: 3, Protocol: "sftp", Path: "/etc/shadow", Access: "read", Keep: "hash", Status: "permission denied", Denied: true})
	k.wait(3 * time.Second)
	k.exec(2, "df -h /var/lib/postgresql")
	k.print(2, "Filesystem      Size  Used Avail Use% Mounted on\n/dev/nvme1n1p1  1.8T  1.1T  702G  61% /var/lib/postgresql\n")
	k.complain(2, "df: /var/lib/postgresql/lost+found: Permission denied\n")
	k.exit(2, 1)
	k.wait(5 * time.Second)
	k.add(recorder.Frame{Type: recorder.TypeOpen, Channel: 3, Data: recorder.OpenChannel{Kind: "direct-tcpip"}.Marshal()})
	k.event(3, recorder.EventForward, recorder.Forward{Kind: "direct-tcpip", To: "localhost:5432", From: "127.0.0.1:53122"})
	k.wait(11 * time.Second)
	k.event(3, recorder.EventForward, recorder.Forward{Kind: "direct-tcpip", To: "localhost:5432", From: "127.0.0.1:53122", Ended: true, Sent: 18220, Received: 942117, Seconds: 11.2})
	k.event(recorder.Global, recorder.EventForward, recorder.Forward{Kind: "direct-tcpip", To: "10.9.1.7:22", From: "127.0.0.1:53140", Denied: true, Why: "administratively prohibited"})
}

// hours is a session of many segments, with little to begin painting from.
func (w *world) hours(t testing.TB) control.Session {
	k := w.record(t, "S-L0NGN1GHT5", "alice", "postgres@ehr-db-2", monday.Add(-26*time.Hour))
	k.terminal(0, 120, 40)
	noise := rand.New(rand.NewPCG(1, 2))
	for minute := range 180 {
		k.typed(0, fmt.Sprintf("vacuumdb --table part_%03d ehr", minute), "")
		for i := range 120 {
			k.print(0, fmt.Sprintf("INFO:  minute %03d line %03d  %x %x\r\n", minute, i, noise.Uint64(), noise.Uint64()))
			k.wait(150 * time.Millisecond)
		}
		k.at = time.Duration(minute+1) * time.Minute
	}
	s := k.end("deadline")
	w.asked(t, s, "CHG-2107: vacuum after the migration", "bob")
	return s
}

// others are sessions of every other kind.
func (w *world) others(t testing.TB) {
	k := w.record(t, "S-EXEC4MGZRT", "deploy-bot", "deploy@app-3", monday.Add(75*time.Minute))
	k.exec(0, "/opt/deploy/run.sh --release 2026.11.2 --canary")
	for i := range 40 {
		k.wait(700*time.Millisecond).print(0, fmt.Sprintf("[%02d/40] unpacking layer %08x\n", i+1, i*7919))
	}
	k.complain(0, "warning: 2 health checks were slow\n")
	k.exit(0, 0)
	w.asked(t, k.end("closed"), "REL-2026.11.2: weekly release", "bob")

	k = w.record(t, "S-F1LESXFER0", "erin", "backup@phi-store-1", monday.Add(3*time.Hour))
	k.channel(0)
	k.request(0, "subsystem", struct{ Text string }{"sftp"})
	k.event(0, recorder.EventProtocol, recorder.Protocol{Name: "sftp"})
	for i := range 6 {
		sum := sha256.Sum256([]byte{byte(i)})
		k.wait(9*time.Second).event(0, recorder.EventFile, recorder.File{Number: uint32(i + 1), Protocol: "sftp", Path: fmt.Sprintf("/exports/2026-11/batch-%02d.zip", i), Access: "read",
			Read: &recorder.Transfer{Bytes: uint64(1+i) * 7340032, SHA256: hex.EncodeToString(sum[:]), End: true}, Keep: "hash", Status: "ok"})
	}
	w.asked(t, k.wait(time.Second).end("closed"), "CHG-2113: monthly export to the archive", "bob", "dora")

	k = w.record(t, "S-REV0KED777", "mallory", "root@ehr-db-1", monday.Add(-3*24*time.Hour))
	k.terminal(0, 80, 24)
	k.typed(0, "tar cf - /srv/phi | base64 | head -c 100", "c3J2L3BoaS8AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n")
	k.wait(2 * time.Second).note("session revoked: R-REV0KED777 was revoked by olga")
	w.asked(t, k.end("revoked: request R-REV0KED777"), "check a disk", "bob")

	k = w.record(t, "S-N0TH1NG0NE", "erin", "backup@phi-store-1", monday.Add(-4*24*time.Hour))
	w.asked(t, k.wait(3*time.Second).end("closed"), "look at the queue", "dora")
}

// live is one that goes on, of which a segment was sealed.
func (w *world) live(t testing.TB) *take {
	k := w.record(t, "S-L1VE0NE222", "bob", "postgres@ehr-db-1", time.Now().Add(-9*time.Minute))
	k.terminal(0, 80, 24)
	k.typed(0, "watch -n1 date", "")
	for i := range 4200 { // a segment has at most 4096 frames
		k.wait(100*time.Millisecond).print(0, fmt.Sprintf("\x1b[H\x1b[2JEvery 1.0s: date\r\n\r\ntick %d", i))
	}
	w.until(k.session.ID, func(p recorder.Progress) bool { return p.Segments > 0 })
	s := k.session
	s.Deadline = time.Now().Add(20 * time.Minute)
	w.sessions = append(w.sessions, s)
	w.asked(t, s, "INC-4420: replication lags")
	return k
}

// settle waits until so many segments are sealed.
func (k *take) settle(segments uint64) {
	k.w.until(k.session.ID, func(p recorder.Progress) bool { return p.Segments >= segments })
}
