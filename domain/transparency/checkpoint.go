package transparency

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// emptyRoot is the root of a tree without leaves: SHA-256 of nothing.
var emptyRoot = tlog.Hash(sha256.Sum256(nil))

// A Checkpoint says what the log is as of a position. Its text is that of C2SP's
// tlog-checkpoint, and it is signed as a C2SP signed-note.
type Checkpoint struct {
	Origin string // names the log, see Origin
	Size   uint64 // leaves: the position of the last commit it covers
	Root   tlog.Hash
}

// Origin names a log by the hash of its first leaf, so that all processes that
// share a log, and nobody else, call it the same.
func Origin(first tlog.Hash) string { return "flagledger/" + hex.EncodeToString(first[:8]) }

// Text is what is signed.
func (c Checkpoint) Text() string {
	return fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, c.Root)
}

// ParseCheckpoint reads the text of a checkpoint. Lines behind the third are
// extensions, which mean nothing here.
func ParseCheckpoint(text string) (Checkpoint, error) {
	lines := strings.SplitN(text, "\n", 4)
	if len(lines) < 4 || lines[0] == "" {
		return Checkpoint{}, errors.New("a checkpoint has a line each for the log's name, its size and its root")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64) // tlog counts with int64
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return Checkpoint{}, fmt.Errorf("the second line of a checkpoint is its size, not %.40q", lines[1])
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil || root.String() != lines[2] {
		return Checkpoint{}, fmt.Errorf("the third line of a checkpoint is its root in base64, not %.60q", lines[2])
	}
	return Checkpoint{Origin: lines[0], Size: uint64(size), Root: root}, nil
}

// A Signed is a checkpoint with the note that it was read from, or signed as.
type Signed struct {
	Checkpoint
	Note string
}

// Sign makes the signed form.
func (c Checkpoint) Sign(keys ...note.Signer) (Signed, error) {
	signed, err := note.Sign(&note.Note{Text: c.Text()}, keys...)
	if err != nil {
		return Signed{}, fmt.Errorf("sign checkpoint of size %d: %w", c.Size, err)
	}
	return Signed{c, string(signed)}, nil
}

// ErrUnknownKey says that none of the known keys signed a checkpoint.
var ErrUnknownKey = errors.New("not signed by a key that is known here")

// OpenCheckpoint reads a signed checkpoint and verifies it: at least one of the
// keys must have signed it, and the signature of each that has must hold. The
// name of the key must be that of the log.
func OpenCheckpoint(signed string, keys note.Verifiers) (Signed, error) {
	n, err := note.Open([]byte(signed), keys)
	if unverified, ok := errors.AsType[*note.UnverifiedNoteError](err); ok {
		return Signed{}, fmt.Errorf("the checkpoint is %w, but by %s", ErrUnknownKey, signers(unverified.Note.UnverifiedSigs))
	}
	if err != nil {
		return Signed{}, fmt.Errorf("the checkpoint is not a note with a signature that holds: %w", err)
	}
	c, err := ParseCheckpoint(n.Text)
	if err != nil {
		return Signed{}, err
	}
	for _, sig := range n.Sigs {
		if sig.Name != c.Origin {
			return Signed{}, fmt.Errorf("the checkpoint is of log %.80q, its key of %.80q", c.Origin, sig.Name)
		}
	}
	return Signed{c, signed}, nil
}

// ReadUnverified reads a signed checkpoint without asking who signed it.
func ReadUnverified(signed string) (Checkpoint, error) {
	_, err := note.Open([]byte(signed), note.VerifierList())
	unverified, ok := errors.AsType[*note.UnverifiedNoteError](err)
	if !ok {
		return Checkpoint{}, fmt.Errorf("the checkpoint is not a signed note: %w", err)
	}
	return ParseCheckpoint(unverified.Note.Text)
}

func signers(signatures []note.Signature) string {
	var all []string
	for _, s := range signatures {
		all = append(all, fmt.Sprintf("%s+%08x", s.Name, s.Hash))
	}
	return strings.Join(all, ", ")
}

// Verifiers makes keys of their printed form, <name>+<id>+<key>. Each text is one or
// more lines, as "flagledger key show" prints them: until when a key signs does not
// count, for what it signed before is to be verified later.
func Verifiers(vkeys ...string) (note.Verifiers, error) {
	var list []note.Verifier
	seen := map[string]bool{}
	for vkey := range strings.Lines(strings.Join(vkeys, "\n")) {
		vkey, _, _ = strings.Cut(vkey, " until ")
		if vkey = strings.TrimSpace(vkey); vkey == "" || seen[vkey] {
			continue
		}
		seen[vkey] = true
		v, err := note.NewVerifier(vkey)
		if err != nil {
			return nil, fmt.Errorf("%.100q is not a key to verify with, such as flagledger/0123456789abcdef+01234567+AbCd...: %w", vkey, err)
		}
		list = append(list, v)
	}
	if len(list) == 0 {
		return nil, errors.New("there is no key to verify with")
	}
	return note.VerifierList(list...), nil
}
