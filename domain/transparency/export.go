package transparency

import (
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/tlog"
)

// exportVersion is the form of an export: lines of JSON, a header, a line for
// each commit, between them the checkpoints that were signed at that size, and
// an end.
const exportVersion = "flagledger.export.v1"

// A Header is the first line of an export.
type Header struct {
	Version string `json:"export"`
	From    uint64 `json:"from"` // position of the first commit
	To      uint64 `json:"to"`   // of the last
	// Before are the roots of the complete subtrees of the commits before From,
	// the largest first.
	Before []tlog.Hash `json:"before"`
	// Checkpoint vouches for the log up to To, or further.
	Checkpoint string `json:"checkpoint"`
	// Consistency proves that the log up to To is the beginning of the one of the
	// checkpoint; empty where it is that one.
	Consistency tlog.TreeProof `json:"consistency"`
}

// line is any other line of an export.
type line struct {
	Position   uint64    `json:"position,omitempty"`
	Hash       tlog.Hash `json:"leaf_hash,omitzero"`   // of the leaf, in the tree of the server
	Leaf       *string   `json:"leaf,omitempty"`       // the bytes, where they are UTF-8
	LeafBase64 []byte    `json:"leaf_b64,omitempty"`   // else
	Checkpoint string    `json:"checkpoint,omitempty"` // of the commits up to here
	End        uint64    `json:"end,omitempty"`        // position of the last commit
}

// An Exporter writes an export.
type Exporter struct {
	header  Header
	encoder *json.Encoder
}

// NewExporter writes the header, whose version it sets, and returns what writes
// the rest.
func NewExporter(w io.Writer, h Header) (*Exporter, error) {
	h.Version = exportVersion
	if h.Before == nil {
		h.Before = []tlog.Hash{}
	}
	if h.Consistency == nil {
		h.Consistency = tlog.TreeProof{}
	}
	x := &Exporter{header: h, encoder: json.NewEncoder(w)}
	x.encoder.SetEscapeHTML(false)
	return x, x.write(h)
}

func (x *Exporter) write(v any) error {
	if err := x.encoder.Encode(v); err != nil {
		return fmt.Errorf("write export: %w", err)
	}
	return nil
}

// Leaf writes a commit. hash is the one that the tree has for it.
func (x *Exporter) Leaf(leaf Leaf, hash tlog.Hash) error {
	b := leaf.Bytes()
	l := line{Position: leaf.Position, Hash: hash}
	if utf8.Valid(b) {
		text := string(b)
		l.Leaf = &text
	} else {
		l.LeafBase64 = b
	}
	return x.write(l)
}

// Checkpoint writes a checkpoint that was signed when the last commit written
// was the newest.
func (x *Exporter) Checkpoint(signed string) error { return x.write(line{Checkpoint: signed}) }

// End writes the last line.
func (x *Exporter) End() error { return x.write(line{End: x.header.To}) }
