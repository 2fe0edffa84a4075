package auditlog

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// proofMagic is the first line of a C2SP tlog-proof: the place of a leaf, the hashes that lead from it to the root, and the
// checkpoint with that root, in one text.
const proofMagic = "c2sp.org/tlog-proof@v1\n"

// FormatProof writes the proof that the leaf at index is in the tree of checkpoint, as C2SP tlog-proof has it.
func FormatProof(p Proof, index int64, checkpoint []byte) []byte {
	return fmt.Appendf(nil, "%sindex %d\n%s\n%s", proofMagic, index, p, checkpoint)
}

// ParseTlogProof reads what [FormatProof] wrote, and nothing else.
func ParseTlogProof(text []byte) (p Proof, index int64, checkpoint []byte, err error) {
	bad := func(why string) (Proof, int64, []byte, error) { return nil, 0, nil, errors.New("proof: " + why) }
	rest, ok := strings.CutPrefix(string(text), proofMagic)
	if !ok {
		return bad("its first line is not " + strings.TrimSpace(proofMagic))
	}
	head, note, ok := strings.Cut(rest, "\n\n")
	line, hashes, _ := strings.Cut(head, "\n")
	number, is := strings.CutPrefix(line, "index ")
	if !ok || !is {
		return bad("it has no index, or no checkpoint")
	}
	if index, err = strconv.ParseInt(number, 10, 64); err != nil || index < 0 {
		return bad("its index is no number")
	}
	if hashes != "" {
		hashes += "\n"
	}
	if p, err = ParseProof(hashes); err != nil {
		return nil, 0, nil, err
	}
	if string(FormatProof(p, index, []byte(note))) != string(text) {
		return bad("not written as it should be")
	}
	return p, index, []byte(note), nil
}
