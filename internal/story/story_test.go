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

// storiesPerProcessor are told at a time: they wait more than they compute.
const storiesPerProcessor = 3

// TestMain tells more stories at a time than there are processors.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		flag.Set("test.parallel", strconv.Itoa(storiesPerProcessor*runtime.GOMAXPROCS(0)))
	}
	status := m.Run()
	os.RemoveAll(built.here)
	os.Exit(status)
}

// TestStories tells every story in testdata, each with a lab of its own, beside the other tests: those that wait longest are none of these.
func TestStories(t *testing.T) {
	t.Parallel()
	stories, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(stories) == 0 {
		t.Fatal("no stories in testdata")
	}
	p := Params("testdata", programs(t))
	p.WorkdirRoot = t.TempDir()
	testscript.Run(t, p)
}

// programs are the four programs: those that POSTERN_LAB_BIN names, or else built here, once.
func programs(t *testing.T) string {
	t.Helper()
	if bin := os.Getenv("POSTERN_LAB_BIN"); bin != "" {
		return bin
	}
	built.once.Do(func() { built.err = build() })
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.here
}

var built struct {
	once sync.Once
	here string
	err  error
}

func build() (err error) {
	if built.here, err = os.MkdirTemp("", "postern-programs-"); err != nil {
		return err
	}
	cmd := exec.Command("go", "build", "-o", built.here+"/", "./cmd/...")
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}
