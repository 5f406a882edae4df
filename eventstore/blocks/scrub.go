package blocks

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
)

// Scrub overwrites all messages of a stream that are deleted and can be read in
// its files all the same, as NATS overwrites one that is to be deleted securely,
// and returns how many there were. It checks the stream too, and changes nothing
// in a damaged one ([Check]). No server may use the stream. It can be
// interrupted at any moment, and repeated.
//
// It takes 16 bytes of memory for each message.
func Scrub(ctx context.Context, dir string) (overwrote int, err error) {
	if err := clearUp(dir); err != nil {
		return 0, err
	}
	deleted, gone := map[uint64]bool{}, map[uint64]bool{}
	var positions []uint64 // of what can be read, ascending
	var blocks []*block    // where
	err = walk(ctx, dir, func(b *block, r record) error {
		switch r.kind {
		case deletes:
			deleted[r.position] = true
		case overwritten:
			gone[r.position] = true
		default:
			positions, blocks = append(positions, r.position), append(blocks, b)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	owed := map[*block]bool{}
	for position := range deleted {
		if at, found := slices.BinarySearch(positions, position); found && !gone[position] {
			owed[blocks[at]] = true
		}
	}
	var buffer []byte
	for b := range owed {
		if buffer, err = b.read(buffer); err != nil {
			return overwrote, err
		}
		for at := 0; at < len(b.data); {
			r, ok := b.record(at)
			if !ok {
				break
			}
			if r.kind == 0 && deleted[r.position] {
				b.overwrite(r)
				overwrote++
			}
			at += r.length
		}
		if err := b.replace(); err != nil {
			return overwrote, fmt.Errorf("overwrite what is deleted in %s: %w", b.path, err)
		}
	}
	return overwrote, nil
}

// overwrite leaves nothing of a record but its length and position.
func (b *block) overwrite(r record) {
	data := b.data[r.at : r.at+r.length]
	clear(data[:headerSize])
	binary.LittleEndian.PutUint32(data, uint32(r.length))
	binary.LittleEndian.PutUint64(data[4:], r.position|overwritten)
	content, sum := data[headerSize:r.length-sumSize], data[r.length-sumSize:]
	rand.Read(content) // never fails
	b.sum.Reset()
	_, _ = b.sum.Write(data[4:20])
	_, _ = b.sum.Write(content)
	b.sum.Sum(sum[:0])
}

const (
	// scrubbing is the new content of a block, beside the folder of the others: in
	// there the server would take it for one.
	scrubbing = "scrub.tmp"
	// unfinished is how the names of blocks end that the server did not get to
	// replace before it was killed.
	unfinished = "*.blk.tmp"
)

// replace writes the block, all or nothing.
func (b *block) replace() error {
	folder := filepath.Dir(b.path)
	path := filepath.Join(filepath.Dir(folder), scrubbing)
	file, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(b.data)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(path, b.path); err != nil {
		return err
	}
	if runtime.GOOS == "windows" {
		return nil // a folder cannot be synced there
	}
	opened, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(opened.Sync(), opened.Close())
}

// clearUp removes copies of blocks, with all that is in them, that were being
// written when the process was killed.
func clearUp(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, "msgs", unfinished))
	if err != nil {
		return err
	}
	for _, path := range append(left, filepath.Join(dir, scrubbing)) {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove an unfinished copy: %w", err)
		}
	}
	return nil
}
