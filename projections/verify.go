package projections

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"slices"

	"github.com/cespare/xxhash/v2"
	"go.etcd.io/bbolt"
)

// bbolt has no checksums beside those of its two meta pages: a byte that is not
// what was written is read as it is. So every transaction also writes the sum of
// the hashes of all entries, and verify reads the whole file and compares. It
// reads with pread and checks each number before it uses it, because bbolt's own
// check follows any number it finds, in a goroutine of its own, where a page that
// is not there ends the process.
//
// What is left unnoticed is what no reader can see: bytes that belong to no
// entry, and a branch key that still divides the same keys. Such a damage is no
// attack; for those there are the proofs of the log.

// entrySum is what an entry adds to the sum.
func entrySum(bucket, key, value []byte) uint64 {
	var d xxhash.Digest
	var size [8]byte
	d.Reset()
	_, _ = d.Write(bucket) // never fails
	binary.BigEndian.PutUint64(size[:], uint64(len(key)))
	_, _ = d.Write(size[:])
	_, _ = d.Write(key)
	_, _ = d.Write(value)
	return d.Sum64()
}

// A summer changes entries within a transaction and keeps their sum.
type summer struct {
	tx  *bbolt.Tx
	sum uint64
}

// summing continues the sum of the file.
func summing(tx *bbolt.Tx) *summer {
	s := &summer{tx: tx}
	if raw := tx.Bucket(bucketMeta).Get(metaSum); raw != nil {
		s.sum = binary.BigEndian.Uint64(raw)
	}
	return s
}

// put is Bucket.Put.
func (s *summer) put(bucket, key, value []byte) error {
	b := s.tx.Bucket(bucket)
	if old, ok := lookup(b, key); ok {
		s.sum -= entrySum(bucket, key, old)
	}
	s.sum += entrySum(bucket, key, value)
	return b.Put(key, value)
}

// add is Bucket.Put of a key that is certainly not there.
func (s *summer) add(bucket, key, value []byte) error {
	s.sum += entrySum(bucket, key, value)
	return s.tx.Bucket(bucket).Put(key, value)
}

// delete is Bucket.Delete.
func (s *summer) delete(bucket, key []byte) error {
	b := s.tx.Bucket(bucket)
	if old, ok := lookup(b, key); ok {
		s.sum -= entrySum(bucket, key, old)
	}
	return b.Delete(key)
}

// lookup tells an empty value, which Get gives as nil in a transaction that
// wrote it, from none.
func lookup(b *bbolt.Bucket, key []byte) ([]byte, bool) {
	k, value := b.Cursor().Seek(key)
	return value, bytes.Equal(k, key)
}

// save writes the sum itself, at the end of the transaction.
func (s *summer) save() error {
	return s.tx.Bucket(bucketMeta).Put(metaSum, bigEndian(s.sum))
}

// verify reads the whole file that db has open and returns an error, wrapping
// errDamaged, when it is not what was written. It may run while the file is
// written to: a transaction that is open meanwhile keeps what it reads in place.
func verify(ctx context.Context, db *bbolt.DB) error {
	tx, err := db.Begin(false)
	if err != nil {
		return fmt.Errorf("verify views: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // it only reads
	file, err := os.Open(db.Path())
	if err != nil {
		return fmt.Errorf("verify views: %w", err)
	}
	defer func() { _ = file.Close() }() // it only reads
	err = verifyFile(untilDone{ctx, file}, db.Info().PageSize)
	if ctx.Err() != nil {
		return fmt.Errorf("verify views: %w", ctx.Err())
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	return nil
}

// untilDone reads until ctx is done.
type untilDone struct {
	ctx  context.Context
	file io.ReaderAt
}

func (u untilDone) ReadAt(b []byte, offset int64) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.file.ReadAt(b, offset)
}

// The numbers of bbolt's file format, version 2. Its numbers have the byte order
// of the machine.
const (
	boltMagic   = 0xED0CDAED
	boltVersion = 2

	pageHeader  = 16 // id, flags, count, overflow
	elementSize = 16
	bucketSize  = 16 // root page, sequence
	metaSize    = 64

	flagBranch, flagLeaf, flagFreelist = 1, 2, 16
	elementIsBucket                    = 1

	maxDepth = 32 // of pages; 10^9 entries have 6
)

var native = binary.NativeEndian

// A fileCheck reads a file of bbolt.
type fileCheck struct {
	file     io.ReaderAt
	pageSize int
	high     uint64 // number of pages
	reached  []bool
	buffers  [maxDepth][]byte // of the pages from the root to the one that is read
	found    []string         // buckets
	sum      uint64
	stored   []byte // the sum as it is in the file
}

func verifyFile(file io.ReaderAt, pageSize int) (err error) {
	defer func() {
		if p := recover(); p != nil { // an element that reaches out of its page
			err = fmt.Errorf("a page is malformed: %v", p)
		}
	}()
	c := &fileCheck{file: file, pageSize: pageSize}
	root, freelist, err := c.readMeta()
	if err != nil {
		return err
	}
	c.reached = make([]bool, c.high)
	err = c.walk(root, 0, nil, nil, func(flags uint32, name, value []byte) error {
		if flags != elementIsBucket {
			return fmt.Errorf("entry %q stands where buckets are", name)
		}
		return c.bucket(slices.Clone(name), value)
	})
	if err != nil {
		return err
	}
	for _, name := range buckets {
		if !slices.Contains(c.found, string(name)) {
			return fmt.Errorf("there is no bucket %s", name)
		}
	}
	if err := c.checkFree(freelist); err != nil {
		return err
	}
	if !bytes.Equal(c.stored, bigEndian(c.sum)) {
		return fmt.Errorf("the entries have the sum %016x, not %x", c.sum, c.stored)
	}
	return nil
}

// readMeta reads the newer one of the two meta pages that are whole.
func (c *fileCheck) readMeta() (root, freelist uint64, err error) {
	newest, found := uint64(0), false
	for i := range int64(2) {
		b := make([]byte, metaSize)
		if _, err := c.file.ReadAt(b, i*int64(c.pageSize)+pageHeader); err != nil {
			return 0, 0, fmt.Errorf("read meta page %d: %w", i, err)
		}
		hash := fnv.New64a()
		_, _ = hash.Write(b[:metaSize-8]) // never fails
		if native.Uint32(b) != boltMagic || native.Uint32(b[4:]) != boltVersion || native.Uint64(b[56:]) != hash.Sum64() {
			continue
		}
		if txid := native.Uint64(b[48:]); !found || txid > newest {
			newest, found = txid, true
			root, freelist, c.high = native.Uint64(b[16:]), native.Uint64(b[32:]), native.Uint64(b[40:])
		}
	}
	if !found {
		return 0, 0, errors.New("neither meta page is whole")
	}
	return root, freelist, nil
}

// page reads a page, and notes that it was reached.
func (c *fileCheck) page(id uint64, depth int) ([]byte, error) {
	if depth == maxDepth {
		return nil, fmt.Errorf("page %d is %d pages deep", id, depth)
	}
	if id < 2 || id >= c.high {
		return nil, fmt.Errorf("page %d is none of the %d", id, c.high)
	}
	b := slices.Grow(c.buffers[depth][:0], c.pageSize)[:c.pageSize]
	c.buffers[depth] = b
	if _, err := c.file.ReadAt(b, int64(id)*int64(c.pageSize)); err != nil {
		return nil, fmt.Errorf("read page %d: %w", id, err)
	}
	if found := native.Uint64(b); found != id {
		return nil, fmt.Errorf("page %d says that it is %d", id, found)
	}
	pages := 1 + uint64(native.Uint32(b[12:]))
	if pages > c.high-id {
		return nil, fmt.Errorf("page %d says that it has %d pages", id, pages)
	}
	for i := id; i < id+pages; i++ {
		if c.reached[i] {
			return nil, fmt.Errorf("page %d is used twice", i)
		}
		c.reached[i] = true
	}
	if pages == 1 {
		return b, nil
	}
	b = slices.Grow(b, int(pages-1)*c.pageSize)[:int(pages)*c.pageSize]
	c.buffers[depth] = b
	if _, err := c.file.ReadAt(b[c.pageSize:], int64(id+1)*int64(c.pageSize)); err != nil {
		return nil, fmt.Errorf("read page %d: %w", id, err)
	}
	return b, nil
}

// walk visits the entries below a page, whose keys must be from first to before end.
func (c *fileCheck) walk(id uint64, depth int, first, end []byte, visit func(flags uint32, key, value []byte) error) error {
	b, err := c.page(id, depth)
	if err != nil {
		return err
	}
	switch flags := native.Uint16(b[8:]); flags {
	case flagLeaf:
		if err := entries(b, first, end, visit); err != nil {
			return fmt.Errorf("page %d: %w", id, err)
		}
		return nil
	case flagBranch:
	default:
		return fmt.Errorf("page %d is of the kind %x", id, flags)
	}
	count := int(native.Uint16(b[10:]))
	if count == 0 {
		return fmt.Errorf("page %d leads nowhere", id)
	}
	key := func(i int) []byte {
		at := pageHeader + i*elementSize
		from := at + int(native.Uint32(b[at:]))
		return b[from : from+int(native.Uint32(b[at+4:]))]
	}
	for i := range count {
		next := end
		if i+1 < count {
			next = key(i + 1)
		}
		if err := between(key(i), first, next); err != nil {
			return fmt.Errorf("page %d: %w", id, err)
		}
		if err := c.walk(native.Uint64(b[pageHeader+i*elementSize+8:]), depth+1, key(i), next, visit); err != nil {
			return err
		}
	}
	return nil
}

// entries visits those of a leaf.
func entries(b, first, end []byte, visit func(flags uint32, key, value []byte) error) error {
	for i := range int(native.Uint16(b[10:])) {
		at := pageHeader + i*elementSize
		from := at + int(native.Uint32(b[at+4:]))
		to := from + int(native.Uint32(b[at+8:]))
		key, value := b[from:to], b[to:to+int(native.Uint32(b[at+12:]))]
		if err := between(key, first, end); err != nil {
			return err
		}
		if i > 0 && bytes.Equal(key, first) {
			return fmt.Errorf("key %x is there twice", key)
		}
		if err := visit(native.Uint32(b[at:]), key, value); err != nil {
			return err
		}
		first = key
	}
	return nil
}

// between checks the order of keys; a nil end has no key behind it.
func between(key, first, end []byte) error {
	if bytes.Compare(key, first) < 0 || end != nil && bytes.Compare(key, end) >= 0 {
		return fmt.Errorf("key %x stands where %x to %x are", key, first, end)
	}
	return nil
}

// bucket visits the entries of a bucket, given its name and what stands for it.
func (c *fileCheck) bucket(name, header []byte) error {
	if !slices.ContainsFunc(buckets, func(known []byte) bool { return bytes.Equal(known, name) }) {
		return fmt.Errorf("bucket %q is not one of the views", name)
	}
	c.found = append(c.found, string(name))
	visit := func(flags uint32, key, value []byte) error {
		if flags != 0 {
			return fmt.Errorf("entry %x of bucket %s is marked as a bucket", key, name)
		}
		if bytes.Equal(name, bucketMeta) && bytes.Equal(key, metaSum) {
			c.stored = bytes.Clone(value)
		} else {
			c.sum += entrySum(name, key, value)
		}
		return nil
	}
	root := native.Uint64(header)
	var err error
	if root == 0 { // it is small, and stands right here
		inline := header[bucketSize:]
		if native.Uint16(inline[8:]) != flagLeaf {
			return fmt.Errorf("bucket %s is malformed", name)
		}
		err = entries(inline, nil, nil, visit)
	} else {
		err = c.walk(root, 1+maxDepth/2, nil, nil, visit) // the list of buckets keeps its buffers
	}
	if err != nil {
		return fmt.Errorf("bucket %s: %w", name, err)
	}
	return nil
}

// checkFree makes sure that no page is free that is used, or it would be
// overwritten, and that each is one or the other.
func (c *fileCheck) checkFree(freelist uint64) error {
	b, err := c.page(freelist, 0)
	if err != nil {
		return fmt.Errorf("list of free pages: %w", err)
	}
	if native.Uint16(b[8:]) != flagFreelist {
		return fmt.Errorf("page %d is no list of free pages", freelist)
	}
	ids, count := b[pageHeader:], int(native.Uint16(b[10:]))
	if count == 0xFFFF { // which did not hold it
		count, ids = int(native.Uint64(ids)), ids[8:]
	}
	for i := range count {
		id := native.Uint64(ids[8*i:])
		if id < 2 || id >= c.high {
			return fmt.Errorf("free page %d is none of the %d", id, c.high)
		}
		if c.reached[id] {
			return fmt.Errorf("page %d is both free and used", id)
		}
		c.reached[id] = true
	}
	if lost := slices.Index(c.reached[2:], false); lost >= 0 {
		return fmt.Errorf("page %d is neither free nor used", lost+2)
	}
	return nil
}
