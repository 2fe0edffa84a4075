package policy

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
)

// How much of the contents of files is kept.
const (
	FilesHash = "hash" // a checksum and the size
	FilesHead = "head" // their beginning, 64 KiB
	FilesFull = "full"
)

// Full is the size of what is kept without a limit.
const Full = -1

// keep is how much is recorded of what passes, besides that it passed: bytes of each stream of a command, and of each
// direction of a forward. In a rule empty files are not said.
type keep struct {
	files             string
	streams, forwards int64
}

var (
	unsaid      = keep{streams: 16 << 20, forwards: 64 << 10}
	defaultKeep = keep{FilesHead, unsaid.streams, unsaid.forwards}
)

// keepOf unites what is kept: the most of what the rules say by which something of that kind may pass. A rule for shells has
// no say about files; one for commands has if it says so, because the old scp is a command.
func keepOf(verdicts []verdict) keep {
	var files []string
	var streams, forwards []int64
	transfers := slices.ContainsFunc(verdicts, func(v verdict) bool { return v.allowed && transfer(v.capability) })
	for _, v := range verdicts {
		if !v.allowed {
			continue
		}
		for _, r := range v.permits {
			said := r.duties.keep
			if transfer(v.capability) || v.capability == Exec && (said.files != "" || !transfers) {
				files = append(files, cmp.Or(said.files, FilesHead))
			}
			switch v.capability {
			case Exec:
				streams = append(streams, said.streams)
			case ForwardLocal, ForwardRemote, X11:
				forwards = append(forwards, said.forwards)
			}
		}
	}
	return keep{
		most(files, FilesHead, MoreFiles), most(streams, unsaid.streams, MoreOf), most(forwards, unsaid.forwards, MoreOf),
	}
}

func transfer(capability string) bool {
	return slices.Contains([]string{SFTPRead, SFTPWrite, SCPRead, SCPWrite}, capability)
}

// most is the largest of what is said, and what it is if nobody says.
func most[T any](said []T, otherwise T, more func(a, b T) T) T {
	if len(said) == 0 {
		return otherwise
	}
	largest := said[0]
	for _, other := range said[1:] {
		largest = more(largest, other)
	}
	return largest
}

// MoreFiles is the one of two ways to keep files that keeps more.
func MoreFiles(a, b string) string {
	order := []string{FilesHash, FilesHead, FilesFull}
	if slices.Index(order, a) < slices.Index(order, b) {
		return b
	}
	return a
}

// MoreOf is the larger of two sizes.
func MoreOf(a, b int64) int64 {
	if a == Full || b == Full {
		return Full
	}
	return max(a, b)
}

func parseFiles(value string) (string, error) {
	if value != FilesFull && value != FilesHead && value != FilesHash {
		return "", fmt.Errorf("%q is none of \"full\", \"head\" and \"hash\"", value)
	}
	return value, nil
}

var (
	sizeForm = regexp.MustCompile(`^([1-9][0-9]{0,5})([KMG])$`)
	units    = []struct {
		name  string
		shift int
	}{{"G", 30}, {"M", 20}, {"K", 10}}
)

func parseSize(value string) (int64, error) {
	switch value {
	case "full":
		return Full, nil
	case "0":
		return 0, nil
	}
	m := sizeForm.FindStringSubmatch(value)
	if m == nil {
		return 0, fmt.Errorf("%q is not a size such as 64K, 16M or 2G, nor \"full\" nor \"0\", which keeps a checksum alone", value)
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	for _, unit := range units {
		if unit.name == m[2] {
			n <<= unit.shift
		}
	}
	return n, err
}

// Size prints a size as rules write it.
func Size(n int64) string {
	if n == Full {
		return "full"
	}
	for _, unit := range units {
		if n > 0 && n%(1<<unit.shift) == 0 {
			return strconv.FormatInt(n>>unit.shift, 10) + unit.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// terms are what is kept, for a person, where it is not what is always kept.
func (k keep) terms() []string {
	var terms []string
	if k.files != defaultKeep.files {
		terms = append(terms, map[string]string{
			FilesFull: "files that pass are kept in full",
			FilesHash: "of files that pass a checksum is kept, and nothing of what is in them",
		}[k.files])
	}
	for _, part := range []struct {
		what         string
		size, normal int64
	}{
		{"each stream of a command", k.streams, defaultKeep.streams},
		{"each direction of a forward", k.forwards, defaultKeep.forwards},
	} {
		switch part.size {
		case part.normal:
		case Full:
			terms = append(terms, part.what+" is kept in full")
		case 0:
			terms = append(terms, "of "+part.what+" a checksum is kept")
		default:
			terms = append(terms, "of "+part.what+" "+Size(part.size)+" is kept")
		}
	}
	return terms
}
