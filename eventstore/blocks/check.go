package blocks

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"path/filepath"
)

// Damage is an error: a file of a stream is not as it was written.
type Damage struct {
	Stream   string
	Position uint64 // the first message that is lost or not what it was
	File     string
	At       int // byte in the file
	Reason   string
}

func (d *Damage) Error() string {
	return fmt.Sprintf("stream %s is damaged: message %d %s (%s, byte %d)", d.Stream, d.Position, d.Reason, d.File, d.At)
}

// Check reads all files of a stream, and returns [*Damage] for the first record
// that is not as it was written while others follow, or is there to its end. A
// record that breaks off, the last of all, is what a power cut leaves of a
// message that was never acknowledged, and no damage.
//
// The stream may be in use.
func Check(ctx context.Context, dir string) error {
	return walk(ctx, dir, func(*block, record) error { return nil })
}

// CheckLog is Check of a stream that begins with message 1, leaves none out, and
// is known to go to a message at least: so that it is noticed when its end, or all
// of it, is gone.
func CheckLog(ctx context.Context, dir string, least uint64) error {
	var last uint64
	file, end := filepath.Join(dir, "msgs"), 0
	err := walk(ctx, dir, func(b *block, r record) error {
		if r.kind != 0 {
			return nil
		}
		if r.position != last+1 {
			return &Damage{b.stream, last + 1, b.path, r.at, fmt.Sprintf("is missing, %d follows", r.position)}
		}
		last, file, end = r.position, b.path, r.at+r.length
		return nil
	})
	if err == nil && last < least {
		return &Damage{filepath.Base(dir), last + 1, file, end, fmt.Sprintf("is missing, and the log is known to go to %d", least)}
	}
	return err
}

// walk visits all records of a stream, until there is damage or visit returns an error.
func walk(ctx context.Context, dir string, visit func(*block, record) error) error {
	all, err := list(dir)
	if err != nil {
		return err
	}
	var last uint64
	var buffer []byte
	for i, b := range all {
		if err := ctx.Err(); err != nil {
			return err
		}
		if buffer, err = b.read(buffer); err != nil {
			return err
		}
		at := 0
		for at < len(b.data) {
			r, ok := b.record(at)
			if !ok {
				break
			}
			if err := visit(b, r); err != nil {
				return err
			}
			if r.kind != deletes {
				last = max(last, r.position)
			}
			at += r.length
		}
		if at < len(b.data) && (i < len(all)-1 || b.complete(at) || b.resumes(at, last)) {
			return &Damage{b.stream, last + 1, b.path, at, "is not as it was written"}
		}
	}
	return nil
}

// complete tells whether the last record, whose sum is wrong, was written to its
// end all the same: what a power cut leaves out of a file are whole sectors.
func (b *block) complete(at int) bool {
	const sector = 512
	length := b.length(at)
	return length > 0 && at+length == len(b.data) && !bytes.Equal(b.data[len(b.data)-sumSize:], make([]byte, sumSize)) &&
		!bytes.Contains(b.data[at:], make([]byte, sector))
}

// resumes tells whether there is a whole record behind a place where none is.
func (b *block) resumes(at int, last uint64) bool {
	const far = 1 << 20 // messages
	for at++; at+emptySize <= len(b.data); at++ {
		position := binary.LittleEndian.Uint64(b.data[at+4:]) &^ (overwritten | deletes)
		if position > last+far { // nearly all there is to try
			continue
		}
		if _, ok := b.record(at); ok {
			return true
		}
	}
	return false
}
