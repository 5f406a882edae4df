// Package blocks reads the files in which an embedded NATS server keeps the
// messages of its streams, while no server has them open, or without changing
// them.
//
// It is needed for two things that the server itself does not do. A server that
// was killed reads its files again at its start, and where the sum of a message
// is not right it cuts the file off there, whatever follows: one flipped bit
// takes all later commits with it ([Check] finds it before). And it notes that a
// message is deleted before it overwrites the message: killed in between, it
// leaves the bytes where they are ([Scrub] overwrites them).
//
// A stream is some files, 1.blk, 2.blk and so on, of records one behind the
// other, as nats-server 2.10 to 2.15 write them without encryption and
// compression (server/filestore.go, writeMsgRecordLocked):
//
//	length (4 bytes; the highest bit: there are headers), sequence (8; the two
//	highest bits: the record is overwritten, the record says that another is
//	deleted), time (8), length of the subject (2), subject, [length of the
//	headers (4), headers,] payload, sum (8)
//
// Numbers are little-endian. The sum is HighwayHash-64 of sequence, time,
// subject, headers and payload, under the SHA-256 of the name of the stream, "-"
// and the number of the file. Where headers end they tell themselves; where the
// subject ends only the length does, so a flipped bit of it is not noticed in a
// message without headers. All commits have some.
package blocks

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/minio/highwayhash"
)

const (
	headerSize = 22
	sumSize    = 8
	// emptySize is that of a record without subject, headers and payload.
	emptySize = headerSize + sumSize
	maxRecord = 32 << 20 // a length above it is none

	withHeaders = 1 << 31 // in the length
	overwritten = 1 << 63 // in the sequence
	deletes     = 1 << 62 // in the sequence: that one is deleted
)

// Dir is where an embedded server with the store directory keeps a stream.
func Dir(store, stream string) string {
	return filepath.Join(store, "jetstream", "$G", "streams", stream)
}

// A block is one file of a stream.
type block struct {
	stream string
	number uint32
	path   string
	data   []byte
	sum    *highwayhash.Digest64
}

// A record is one message, or what is left of one.
type record struct {
	at, length int
	position   uint64
	kind       uint64 // 0, overwritten or deletes
}

// list returns the blocks of the stream in their order, without their data. A
// stream that is not there has none.
func list(dir string) ([]*block, error) {
	entries, err := os.ReadDir(filepath.Join(dir, "msgs"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []*block
	for _, entry := range entries {
		name, ok := strings.CutSuffix(entry.Name(), ".blk")
		number, err := strconv.ParseUint(name, 10, 32)
		if !ok || err != nil {
			continue
		}
		all = append(all, &block{stream: filepath.Base(dir), number: uint32(number), path: filepath.Join(dir, "msgs", entry.Name())})
	}
	slices.SortFunc(all, func(a, b *block) int { return cmp.Compare(a.number, b.number) })
	return all, nil
}

// compressed is how a file begins that is not as we know it.
var compressed = []byte("cmp")

// read fetches the data of the block into the buffer, which may grow. There is
// none where the server has removed the file meanwhile, or has compressed it.
func (b *block) read(buffer []byte) ([]byte, error) {
	file, err := os.Open(b.path)
	if errors.Is(err, fs.ErrNotExist) {
		b.data = nil
		return buffer, nil
	}
	if err != nil {
		return buffer, err
	}
	defer func() { _ = file.Close() }()
	into := bytes.NewBuffer(buffer[:0])
	if _, err := into.ReadFrom(file); err != nil {
		return buffer, fmt.Errorf("read %s: %w", b.path, err)
	}
	b.data = into.Bytes()
	if bytes.HasPrefix(b.data, compressed) {
		b.data = nil
	}
	key := sha256.Sum256(fmt.Appendf(nil, "%s-%d", b.stream, b.number))
	if b.sum, err = highwayhash.NewDigest64(key[:]); err != nil {
		return buffer, err
	}
	return into.Bytes(), nil
}

// length of the record at a place; 0 where there cannot be one.
func (b *block) length(at int) int {
	if at+emptySize > len(b.data) {
		return 0
	}
	header := b.data[at : at+headerSize]
	length := binary.LittleEndian.Uint32(header)
	least := uint32(emptySize) + uint32(binary.LittleEndian.Uint16(header[20:]))
	if length&withHeaders != 0 {
		least += 4
	}
	if length &^= withHeaders; length < least || length > maxRecord || int(length) > len(b.data)-at {
		return 0
	}
	return int(length)
}

// headersEnd is what stands behind the headers of each message that has some.
var headersEnd = []byte("\r\n\r\n")

// record returns what is at a place. ok is false where that is no record with
// the right sum.
func (b *block) record(at int) (r record, ok bool) {
	length := b.length(at)
	if length == 0 {
		return record{}, false
	}
	data := b.data[at : at+length]
	subject := int(binary.LittleEndian.Uint16(data[20:]))
	rest := headerSize + subject
	b.sum.Reset()
	_, _ = b.sum.Write(data[4:20]) // a hash never fails
	_, _ = b.sum.Write(data[headerSize:rest])
	if binary.LittleEndian.Uint32(data)&withHeaders != 0 {
		headers := int(binary.LittleEndian.Uint32(data[rest:])) // not in the sum, but the headers tell where they end
		if rest += 4; bytes.Index(data[rest:], headersEnd)+len(headersEnd) != headers {
			return record{}, false
		}
	}
	_, _ = b.sum.Write(data[rest : length-sumSize])
	var sum [sumSize]byte
	if !bytes.Equal(b.sum.Sum(sum[:0]), data[length-sumSize:]) {
		return record{}, false
	}
	sequence := binary.LittleEndian.Uint64(data[4:])
	return record{at, length, sequence &^ (overwritten | deletes), sequence & (overwritten | deletes)}, true
}
