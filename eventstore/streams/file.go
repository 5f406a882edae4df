package streams

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"flagledger/domain"
)

// A File keeps what was read from a stream, in buckets of its reader, together
// with the position in the stream: both in one transaction, so that each message
// has its effect once. It can be deleted at any time, since all that is in it
// comes again from the stream. So does it when it turns out to be damaged: then it
// is put aside, and [Follow] begins a new one. Its methods may be called at the
// same time.
type File struct {
	*bbolt.DB
	path, what string
	layout     uint64
	buckets    [][]byte
	log        *slog.Logger
	position   atomic.Uint64 // of the last message in the file

	using   sync.RWMutex // held while DB is used, and to replace it
	damaged atomic.Bool  // DB is not to be used any more

	mu   sync.Mutex
	next chan struct{} // closed when position moves on
}

// ErrDamaged says that what is in a file is not what was put there. Whoever reads
// that in a transaction returns it.
var ErrDamaged = errors.New("the file is damaged")

// The bucket of the File's own. Numbers are big endian.
var (
	bucketMeta   = []byte("meta")
	metaLayout   = []byte("layout")
	metaPosition = []byte("position")
	metaCreated  = []byte("created") // when the stream was
)

func bigEndian(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// OpenFile opens the file with the buckets. One that cannot be used, or of
// another layout, is put aside and made anew. what it is of stands in errors and
// in the log, such as "usage".
func OpenFile(path, what string, layout uint64, log *slog.Logger, buckets ...[]byte) (*File, error) {
	f := &File{path: path, what: what, layout: layout, buckets: buckets, log: log, next: make(chan struct{})}
	err := f.open()
	if err == nil || errors.Is(err, bolterrors.ErrTimeout) || errors.Is(err, os.ErrPermission) {
		return f, err
	}
	log.Warn("the file of "+what+" cannot be used, and is made again from the stream", "path", path, "error", err)
	if aside := f.putAside(); aside != nil {
		return nil, errors.Join(err, aside)
	}
	return f, f.open()
}

func (f *File) putAside() error {
	if err := os.Rename(f.path, f.path+".damaged"); err != nil {
		return fmt.Errorf("put the file of %s aside: %w", f.what, err)
	}
	return nil
}

func (f *File) open() error {
	f.position.Store(0)
	return guarded(func() error {
		db, err := bbolt.Open(f.path, 0o600, &bbolt.Options{Timeout: time.Second, FreelistType: bbolt.FreelistMapType})
		if err != nil {
			return fmt.Errorf("open file of %s %s: %w", f.what, f.path, err)
		}
		if err := db.Update(f.prepare); err != nil {
			return errors.Join(fmt.Errorf("prepare file of %s %s: %w", f.what, f.path, err), db.Close())
		}
		f.DB = db
		return nil
	})
}

func (f *File) prepare(tx *bbolt.Tx) error {
	meta, err := tx.CreateBucketIfNotExists(bucketMeta)
	if err != nil {
		return err
	}
	if found := meta.Get(metaLayout); found != nil && !bytes.Equal(found, bigEndian(f.layout)) {
		return fmt.Errorf("layout %x, want %x", found, f.layout)
	}
	for _, name := range f.buckets {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	if raw := meta.Get(metaPosition); raw != nil {
		f.position.Store(binary.BigEndian.Uint64(raw))
	}
	return meta.Put(metaLayout, bigEndian(f.layout))
}

// guarded makes an error of what bbolt does with a damaged file, which has no
// sums: it panics, or follows a number to a place in memory where nothing is. Such
// a file is not even closed then, for bbolt may still hold locks of it.
func guarded(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, p)
		}
	}()
	return do()
}

// View is that of bbolt. Of a damaged file it is a refusal.
func (f *File) View(do func(*bbolt.Tx) error) error {
	return f.use(func() error { return f.DB.View(do) })
}

// Update is that of bbolt. Of a damaged file it is a refusal.
func (f *File) Update(do func(*bbolt.Tx) error) error {
	return f.use(func() error { return f.DB.Update(do) })
}

func (f *File) use(do func() error) error {
	f.using.RLock()
	defer f.using.RUnlock()
	if !f.damaged.Load() {
		err := guarded(do)
		if !errors.Is(err, ErrDamaged) {
			return err
		}
		if f.damaged.CompareAndSwap(false, true) {
			f.log.Error("the file of "+f.what+" is damaged, and is made again from the stream", "path", f.path, "error", err)
		}
	}
	return fmt.Errorf("%w: %w", ErrDamaged, domain.Refuse(domain.Unavailable, "the file of %s is damaged, and is being made again; try again", f.what))
}

// mend begins a new file where this one is damaged.
func (f *File) mend() error {
	f.using.Lock()
	defer f.using.Unlock()
	if !f.damaged.Load() {
		return nil
	}
	if err := f.putAside(); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := f.open(); err != nil {
		return err
	}
	f.damaged.Store(false)
	return nil
}

// Close closes the file. A damaged one is put aside.
func (f *File) Close() error {
	f.using.Lock()
	defer f.using.Unlock()
	if f.damaged.Load() {
		return f.putAside()
	}
	return f.DB.Close()
}

// Position is that of the last message in the file, 0 for none.
func (f *File) Position() uint64 { return f.position.Load() }

// Wait returns when the file has the message at the position, or when ctx is done.
func (f *File) Wait(ctx context.Context, position uint64) error {
	for {
		f.mu.Lock()
		next := f.next
		f.mu.Unlock()
		if f.Position() >= position {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return fmt.Errorf("wait for position %d of the %s, now at %d: %w", position, f.what, f.Position(), ctx.Err())
		}
	}
}

// Keep puts something in, with the position of the last message that it is from.
func (f *File) Keep(end uint64, put func(*bbolt.Tx) error) error {
	err := f.Update(func(tx *bbolt.Tx) error {
		if err := put(tx); err != nil {
			return err
		}
		return tx.Bucket(bucketMeta).Put(metaPosition, bigEndian(end))
	})
	if err != nil {
		return err
	}
	f.position.Store(end)
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.next)
	f.next = make(chan struct{})
	return nil
}

// beginOn makes the position one of this stream: where it is another one than
// before, or a shorter one, everything is read again, which does no harm.
func (f *File) beginOn(info *jetstream.StreamInfo) error {
	created := bigEndian(uint64(info.Created.UnixNano()))
	return f.Update(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if bytes.Equal(meta.Get(metaCreated), created) && f.Position() <= info.State.LastSeq {
			return nil
		}
		f.position.Store(0)
		return errors.Join(meta.Put(metaCreated, created), meta.Put(metaPosition, bigEndian(0)))
	})
}

// Follow brings what is in the stream into the file, from its position on, until
// something fails; it never returns nil. decode adds what a message says to what
// is kept together: of up to so many messages and bytes that are there already,
// so that a transaction is neither small nor slow.
func Follow[T any](ctx context.Context, stream jetstream.Stream, f *File, messages, bytes int,
	decode func(T, Message) T, keep func(kept T, end uint64) error) error {
	if err := f.mend(); err != nil {
		return err
	}
	info, err := Ask(ctx, func(ctx context.Context) (*jetstream.StreamInfo, error) { return stream.Info(ctx) })
	if err != nil {
		return fmt.Errorf("ask for the end of the stream: %w", err)
	}
	if err := f.beginOn(info); err != nil {
		return fmt.Errorf("find the position to begin at: %w", err)
	}
	reader := Read(stream, f.Position())
	defer reader.Close()
	for {
		if f.damaged.Load() {
			return fmt.Errorf("keep what is read: %w", ErrDamaged)
		}
		var together T
		end := uint64(0)
		for n, size := 0, 0; n < messages && size < bytes; n++ {
			msg, err := reader.Next(ctx)
			if errors.Is(err, ErrQuiet) { // nothing came, or more was announced and has grown too old meanwhile
				break
			}
			if err != nil {
				return fmt.Errorf("read behind position %d: %w", f.Position(), err)
			}
			end = msg.Position
			size += len(msg.Data)
			together = decode(together, msg)
			if msg.Pending == 0 {
				break
			}
		}
		if end == 0 {
			continue
		}
		if err := keep(together, end); err != nil {
			return fmt.Errorf("store %s up to position %d: %w", f.what, end, err)
		}
	}
}
