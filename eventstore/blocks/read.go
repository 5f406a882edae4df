package blocks

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"
)

// A Message is one in the files of a stream. Data is good until the visit ends.
type Message struct {
	Position uint64
	Subject  string
	Data     []byte
	Time     time.Time // when the stream took it
	// Deleted says that the message at the position is deleted, and nothing else. It
	// may be visited as well, before or after that.
	Deleted bool
}

var errUnread = errors.New("the file is not as it was written, or compressed")

// Read visits the messages in the files of a stream, on all processors at once and
// so in no order. Among them are some that the server does not have any more: those
// deleted, and those of which a subject keeps only the last. It ends at the first
// error of a visit, or when a file cannot be read to its end. The stream may be in
// use, and what is written meanwhile is visited or not.
//
// last is the position of the newest message, deleted or not.
func Read(ctx context.Context, dir string, visit func(Message) error) (last uint64, err error) {
	all, err := list(dir)
	if err != nil {
		return 0, err
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	next, newest := make(chan *block, len(all)), make(chan uint64, len(all))
	for _, b := range all {
		next <- b
	}
	close(next)
	var readers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(all)) {
		readers.Go(func() {
			var buffer []byte
			for b := range next {
				var err error
				if buffer, err = b.read(buffer); err != nil {
					end(err)
					return
				}
				position, err := b.visit(ctx, b == all[len(all)-1], visit)
				if err != nil {
					end(err)
					return
				}
				newest <- position
				b.data = nil // the buffer is the next one's
			}
		})
	}
	readers.Wait()
	close(newest)
	for position := range newest {
		last = max(last, position)
	}
	return last, context.Cause(ctx)
}

// visit visits the messages of the block, of which the end may break off.
func (b *block) visit(ctx context.Context, end bool, visit func(Message) error) (newest uint64, err error) {
	at := 0
	for at < len(b.data) && ctx.Err() == nil {
		r, ok := b.record(at)
		if !ok {
			break
		}
		m := Message{Position: r.position, Deleted: true}
		if r.kind == 0 {
			m = b.message(r)
		}
		if err := visit(m); err != nil {
			return 0, err
		}
		newest = max(newest, r.position)
		at += r.length
	}
	if b.data == nil || at < len(b.data) && !end {
		return 0, fmt.Errorf("read %s from byte %d on: %w", b.path, at, errUnread)
	}
	return newest, ctx.Err()
}

// message takes a record apart that has the right sum.
func (b *block) message(r record) Message {
	data := b.data[r.at : r.at+r.length]
	rest := headerSize + int(binary.LittleEndian.Uint16(data[20:]))
	m := Message{
		Position: r.position,
		Subject:  string(data[headerSize:rest]),
		Time:     time.Unix(0, int64(binary.LittleEndian.Uint64(data[12:]))),
	}
	if binary.LittleEndian.Uint32(data)&withHeaders != 0 {
		rest += 4 + int(binary.LittleEndian.Uint32(data[rest:]))
	}
	m.Data = data[rest : r.length-sumSize]
	return m
}
