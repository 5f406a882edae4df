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
	x := &Exporter{header: h, encoder: newEncoder(w)}
	return x, x.write(h.asWritten())
}

func newEncoder(w io.Writer) *json.Encoder {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e
}

// asWritten is the one form in which this header is written.
func (h *Header) asWritten() any {
	one := *h
	if one.Before == nil {
		one.Before = []tlog.Hash{}
	}
	if one.Consistency == nil {
		one.Consistency = tlog.TreeProof{}
	}
	return one
}

// asWritten is the one form in which what this line says is written: it is one of
// three kinds, and has what belongs to its kind alone.
func (l *line) asWritten() any {
	switch {
	case l.Checkpoint != "":
		return line{Checkpoint: l.Checkpoint}
	case l.End != 0:
		return line{End: l.End}
	default:
		return commitLine(l.Position, l.Hash, l.leaf())
	}
}

// leaf is the bytes of the commit.
func (l *line) leaf() []byte {
	if l.Leaf != nil {
		return []byte(*l.Leaf)
	}
	return l.LeafBase64
}

func commitLine(position uint64, hash tlog.Hash, leaf []byte) line {
	l := line{Position: position, Hash: hash}
	if utf8.Valid(leaf) {
		text := string(leaf)
		l.Leaf = &text
	} else {
		l.LeafBase64 = leaf
	}
	return l
}

func (x *Exporter) write(v any) error {
	if err := x.encoder.Encode(v); err != nil {
		return fmt.Errorf("write export: %w", err)
	}
	return nil
}

// Leaf writes a commit. hash is the one that the tree has for it.
func (x *Exporter) Leaf(leaf Leaf, hash tlog.Hash) error {
	return x.write(commitLine(leaf.Position, hash, leaf.Bytes()))
}

// Checkpoint writes a checkpoint that was signed when the last commit written
// was the newest.
func (x *Exporter) Checkpoint(signed string) error { return x.write(line{Checkpoint: signed}) }

// End writes the last line.
func (x *Exporter) End() error { return x.write(line{End: x.header.To}) }
