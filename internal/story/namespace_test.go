package story

import (
	"bytes"
	"os"
	"os/exec"
	"testing"
)

// inNamespace is set in the process that is root in a user namespace of its own.
const inNamespace = "POSTERN_IN_NAMESPACE"

// asRootOfANamespace runs the test that calls it once more, in a user namespace whose networks are its to make and to cut, and says that it did. Root
// needs none. The user stays who they are, so sshd does not take itself for root's.
func asRootOfANamespace(t *testing.T) bool {
	t.Helper()
	if os.Getuid() == 0 || os.Getenv(inNamespace) != "" {
		return false
	}
	for _, program := range []string{"unshare", "ip", "mount"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%s is missing, with which a network is cut; install it with: apt-get install util-linux iproute2 mount", program)
		}
	}
	unshare := []string{"--user", "--map-current-user", "--keep-caps", "--net", "--mount", "--", "sh", "-c", `mount -t tmpfs tmpfs /run && ip link set lo up && exec "$@"`, "sh"}
	if out, err := exec.Command("unshare", append(unshare, "true")...).CombinedOutput(); err != nil {
		t.Fatalf("this user may make no namespaces, in which the network is cut (unshare --user --net --mount: %v: %s); allow them with: sysctl -w user.max_user_namespaces=10000 kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0, or run this test as root",
			err, bytes.TrimSpace(out))
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "unshare", append(unshare, self, "-test.run", "^"+t.Name()+"$", "-test.v")...)
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	out, err := cmd.CombinedOutput()
	t.Logf("in a user namespace:\n%s", out)
	if err != nil {
		t.Errorf("in a user namespace: %v", err)
	}
	return true
}
