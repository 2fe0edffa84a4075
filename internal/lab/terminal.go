package lab

import (
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strings"
)

// An sshd gives each terminal to the group tty. It may when it is root, when it is in that group, or when /dev/pts is
// mounted so that the group is right from the start. In a container that mounts it otherwise an ordinary user's sshd
// has no terminals at all, so there it runs where no group is called tty: in a mount namespace with its own /etc/group.
const withoutTTY = `mount --bind "$0" /etc/group && exec setpriv --inh-caps=-all --ambient-caps=-all -- "$@"`

// withTerminals returns the command line that gives sshd terminals; group is a file it may write.
func withTerminals(argv []string, group string) ([]string, error) {
	if os.Getuid() == 0 || ownsTerminals() {
		return argv, nil
	}
	enter := []string{"unshare", "--map-current-user", "--keep-caps", "--mount"}
	if exec.Command(enter[0], append(enter[1:], "true")...).Run() != nil {
		return argv, nil // everything but terminals works
	}
	all, err := os.ReadFile("/etc/group")
	if err != nil {
		return nil, err
	}
	var kept strings.Builder
	for line := range strings.Lines(string(all)) {
		if !strings.HasPrefix(line, "tty:") {
			kept.WriteString(line)
		}
	}
	if err := os.WriteFile(group, []byte(kept.String()), 0o644); err != nil {
		return nil, err
	}
	return slices.Concat(enter, []string{"sh", "-c", withoutTTY, group}, argv), nil
}

func ownsTerminals() bool {
	tty, err := user.LookupGroup("tty")
	if err != nil {
		return true // then sshd takes the user's own
	}
	if me, err := user.Current(); err == nil {
		if groups, err := me.GroupIds(); err == nil && slices.Contains(groups, tty.Gid) {
			return true
		}
	}
	mounts, err := os.ReadFile("/proc/mounts")
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 3 && f[1] == "/dev/pts" {
			return slices.Contains(strings.Split(f[3], ","), "gid="+tty.Gid)
		}
	}
	return err != nil
}
