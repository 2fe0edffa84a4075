package story

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain tells more stories at a time than there are processors: they wait more than they compute.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0)))
	}
	os.Exit(m.Run())
}

// TestStories tells every story in testdata, each with a lab of its own.
func TestStories(t *testing.T) {
	stories, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(stories) == 0 {
		t.Fatal("no stories in testdata")
	}
	p := Params("testdata", programs(t))
	p.WorkdirRoot = t.TempDir()
	testscript.Run(t, p)
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
