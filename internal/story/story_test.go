package story

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain tells more stories at a time than there are processors: they wait more than they compute.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0)))
	}
	status := m.Run()
	if dir, err := built(); err == nil && dir != os.Getenv("POSTERN_LAB_BIN") {
		os.RemoveAll(dir)
	}
	os.Exit(status)
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
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

var built = sync.OnceValues(func() (string, error) {
	if bin := os.Getenv("POSTERN_LAB_BIN"); bin != "" {
		return bin, nil
	}
	bin, err := os.MkdirTemp("", "postern-programs-")
	if err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-o", bin+"/", "./cmd/...")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		return bin, fmt.Errorf("%v\n%s", err, out)
	}
	return bin, nil
})
