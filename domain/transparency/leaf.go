// Package transparency makes the log tamper-evident.
//
// Each commit is a leaf of a Merkle tree as RFC 6962 defines it. The tree's root
// stands for all commits up to a position and their order: whoever alters,
// drops, inserts or reorders one gets another root. A [Checkpoint] is a signed
// root. Who holds one can be shown that a commit is in the log (an inclusion
// proof), that a later log only adds to it (a consistency proof), or the commits
// themselves: an export, which [Verify] reads without a server.
//
// The bytes of a leaf, the form of checkpoints and that of exports are described
// in docs/transparency.md.
package transparency

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// leafVersion is the first line of a leaf. Leaves of another form get another.
const leafVersion = "flagledger.leaf.v1"

// leafTime is RFC 3339 with all nine digits of the nanoseconds, in UTC.
const leafTime = "2006-01-02T15:04:05.000000000Z"

// A Leaf is a commit as it stands in the log, with all that the tree vouches for.
type Leaf struct {
	Position   uint64    // in the log, 1 or more; the leaf's index in the tree is one less
	RecordedAt time.Time // the stream's timestamp
	Subject    string
	Header     map[string][]string // as stored, all of them
	Payload    []byte              // as stored, whatever it is
}

// Bytes are those that are hashed: lines of text, an empty one, the payload.
// Neither names nor values of headers can hold a line break, since the protocol
// of NATS ends them with one, nor names a colon: so different messages have
// different bytes.
func (l Leaf) Bytes() []byte {
	b := make([]byte, 0, 512+len(l.Payload))
	b = append(b, leafVersion...)
	b = append(b, "\nposition: "...)
	b = strconv.AppendUint(b, l.Position, 10)
	b = append(b, "\nrecorded: "...)
	b = l.RecordedAt.UTC().AppendFormat(b, leafTime)
	b = append(b, "\nsubject: "...)
	b = append(b, l.Subject...)
	b = append(b, '\n')
	for _, name := range slices.Sorted(maps.Keys(l.Header)) {
		for _, value := range l.Header[name] {
			b = append(b, name...)
			b = append(b, ": "...)
			b = append(b, value...)
			b = append(b, '\n')
		}
	}
	b = append(b, '\n')
	return append(b, l.Payload...)
}

// Hash is the leaf's hash in the tree (RFC 6962, section 2.1): SHA-256 of a zero
// byte and the leaf's bytes.
func (l Leaf) Hash() tlog.Hash { return tlog.RecordHash(l.Bytes()) }

// parseLeaf reads the position and time that a leaf names itself.
func parseLeaf(b []byte) (position uint64, recorded time.Time, err error) {
	lines := bytes.SplitN(b, []byte("\n"), 4)
	if len(lines) < 4 || string(lines[0]) != leafVersion {
		return 0, time.Time{}, fmt.Errorf("it does not begin with the line %q", leafVersion)
	}
	text, ok := strings.CutPrefix(string(lines[1]), "position: ")
	if !ok {
		return 0, time.Time{}, fmt.Errorf("its second line %.60q is not a position", lines[1])
	}
	if position, err = strconv.ParseUint(text, 10, 64); err != nil || strconv.FormatUint(position, 10) != text {
		return 0, time.Time{}, fmt.Errorf("its position %.60q is not a number", text)
	}
	text, ok = strings.CutPrefix(string(lines[2]), "recorded: ")
	if !ok {
		return 0, time.Time{}, fmt.Errorf("its third line %.60q is not a time", lines[2])
	}
	if recorded, err = time.Parse(leafTime, text); err != nil {
		return 0, time.Time{}, fmt.Errorf("its time %.60q is not one of RFC 3339 with nanoseconds", text)
	}
	return position, recorded, nil
}
