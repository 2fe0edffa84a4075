package story

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestStories tells every story in testdata, each with a lab of its own.
func TestStories(t *testing.T) {
	stories, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(stories) == 0 {
		t.Fatal("no stories in testdata")
	}
	testscript.Run(t, Params("testdata", programs(t)))
}

// programs are the four programs: those that POSTERN_LAB_BIN names, or else built here.
func programs(t *testing.T) string {
	t.Helper()
	if bin := os.Getenv("POSTERN_LAB_BIN"); bin != "" {
		return bin
	}
	bin, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", bin+"/", "./cmd/...")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}
