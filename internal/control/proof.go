package control

// Proof answers proof: hashes that lead to the root of the log's first Size leaves, as in RFC 6962, section 2.1.
type Proof struct {
	Size   int64    `json:"size"`
	From   int64    `json:"from,omitempty"` // consistency: of the smaller tree
	Leaf   *int64   `json:"leaf,omitempty"` // inclusion: of that leaf
	Hashes [][]byte `json:"hashes"`
}

// Cosigned is one line of checkpoint --cosigned: the newest checkpoint that a witness cosigned, with its cosignature.
type Cosigned struct {
	Witness    string `json:"witness"` // name
	Checkpoint string `json:"checkpoint"`
}
