// Package projections keeps the read side of Flagledger: what the log says,
// folded into one bbolt file and into snapshots in memory.
//
// [Views.Apply] takes the commits of the log in order. What has been applied is
// published whole, as an immutable state behind one atomic pointer; readers take
// no lock. [Views.Wait] waits for a position.
//
// Behind that, everything that follows from a commit (the state of its project,
// the history of each object, the versions of the environments, the audit index,
// the answers to retries, the hashes of the transparency log and the position) is
// written in one transaction, which commits share that come soon after each other.
// So after a crash the file is as of some position, and goes on from there: the
// log has the rest. It can be deleted at any time: it is made again from the log,
// to the same bytes. Who reads the past waits until the file has what was visible
// when he began.
package projections

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"flagledger/domain"
	"flagledger/domain/transparency"
)

// Options configures Open.
type Options struct {
	// Schema is the number of the layout and content of the views. A file of
	// another number is deleted and made again.
	Schema int
	// Encode makes the answer for one flag, stored with its outcomes; may be nil.
	Encode Encoder
	// Upcast brings older events to their current version when the audit reads
	// what was recorded; nil: there are none.
	Upcast func(domain.RawEvent) (domain.RawEvent, error)
	Logger *slog.Logger
}

// Views is the read side. Apply must not be called by two goroutines at once;
// everything else may be called at any time.
type Views struct {
	path   string
	schema int
	db     atomic.Pointer[bbolt.DB] // Rebuild starts another
	encode Encoder
	upcast func(domain.RawEvent) (domain.RawEvent, error)
	log    *slog.Logger

	published atomic.Pointer[state]

	mu       sync.Mutex // guards newest, batch, contents and failed: applying
	newest   *state     // what the next batch begins with, published unless the views are being built
	batch    *batch     // what Apply gathers; nil: nothing
	contents domain.Contents
	failed   uint64 // position at which applying failed last; up to it every commit has a state of its own
	failure  atomic.Pointer[error]
	reached  atomic.Uint64 // position of newest
	applied  atomic.Uint64 // commits applied since Open
	catchUp  catchUp
	writer   writer // of the file

	building atomic.Bool   // newest is not complete and not published, see Rebuild
	suspect  chan struct{} // has one when reading the file has failed
	damaged  atomic.Uint64 // files set aside
}

// EnvironmentID names an environment for ever, also after its key is used again.
type EnvironmentID struct {
	Project string
	ID      int32
}

// head is the newest version of an environment, and its last commit, which may
// have changed only what SDKs are shown.
type head struct {
	version  uint64
	touched  domain.Stamp
	modified int64 // the second that stands for it; see Snapshot.Modified
}

// headSize is how many bytes of a head's value come before the digest.
const headSize = 32

// bytes is the value of the bucket of heads: the head and the digest, which
// only the writer of the next version reads.
func (h head) bytes(d *domain.Digest) []byte {
	b := append(bigEndian(h.version), bigEndian(h.touched.Position)...)
	b = append(append(b, bigEndian(uint64(h.touched.Time.UnixNano()))...), bigEndian(uint64(h.modified))...)
	return append(b, d[:]...)
}

func parseHead(b []byte) head {
	h := head{version: binary.BigEndian.Uint64(b)}
	h.touched.Position = binary.BigEndian.Uint64(b[8:])
	h.touched.Time = time.Unix(0, int64(binary.BigEndian.Uint64(b[16:]))).UTC()
	h.modified = int64(binary.BigEndian.Uint64(b[24:]))
	return h
}

// state is what readers see: everything as of one position.
type state struct {
	position  uint64
	projects  map[string]*domain.Project // by id
	snapshots map[EnvironmentID]*Snapshot
	// uncompiled says that the snapshots are not those of the state, which is not
	// published.
	uncompiled bool
	keys       map[string]SDKKey        // by client key, or hash of a server key
	tokens     map[string]*domain.Token // by hash
	heads      map[EnvironmentID]head
	tree       transparency.Frontier // of the transparency log
	next       chan struct{}         // closed when this state is superseded
}

// Open opens or creates the views file, verifies it and loads what is in it. A
// damaged file is set aside, with ".damaged" behind its name, and one of another
// schema is removed; both are made again from the log.
func Open(path string, opts Options) (*Views, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	v := &Views{path: path, schema: opts.Schema, encode: opts.Encode, upcast: opts.Upcast, log: opts.Logger, suspect: make(chan struct{}, 1)}
	v.writer.write, v.writer.log = v.write, v.log
	err := v.open()
	if errors.Is(err, errDamaged) {
		err = v.startAnew(err)
	}
	if err != nil {
		return nil, err
	}
	return v, nil
}

// Close writes what is visible, and closes the file. What was applied beyond, or
// cannot be written, is applied again after the next Open.
func (v *Views) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.batch = nil
	v.writer.close()
	return v.db.Load().Close()
}

// write carries a batch out on the file.
func (v *Views) write(b *batch) error {
	err := guard(func() error { return b.write(v.db.Load()) })
	if errors.Is(err, errDamaged) {
		v.suspectDamage()
	}
	return err
}

// load brings the state from the file into memory.
func (v *Views) load() error {
	st := emptyState()
	err := v.db.Load().View(func(tx *bbolt.Tx) error {
		_, st.position = readMeta(tx)
		var err error
		if st.tree, err = loadTree(tx, st.position); err != nil {
			return err
		}
		if err := loadProjects(tx, st.projects); err != nil {
			return err
		}
		return tx.Bucket(bucketHeads).ForEach(func(k, raw []byte) error {
			st.heads[parseEnvironmentID(k)] = parseHead(raw)
			return nil
		})
	})
	if err != nil {
		return err
	}
	for _, p := range st.projects {
		for _, env := range p.Environments.All() {
			id := EnvironmentID{p.ID, env.ID}
			snap, err := v.compile(nil, p, env, st.heads[id])
			if err != nil {
				return err
			}
			st.snapshots[id] = snap
		}
	}
	st.indexKeys()
	v.newest = st
	v.reached.Store(st.position)
	v.writer.durable.Store(st.position)
	if v.published.Load() == nil {
		v.published.Store(st)
	}
	return nil
}

func emptyState() *state {
	return &state{
		projects: map[string]*domain.Project{}, snapshots: map[EnvironmentID]*Snapshot{},
		heads: map[EnvironmentID]head{}, next: make(chan struct{}),
	}
}

func loadProjects(tx *bbolt.Tx, projects map[string]*domain.Project) error {
	err := tx.Bucket(bucketProjects).ForEach(func(k, raw []byte) error {
		p := &domain.Project{ID: string(k)}
		p.Position, p.LastID = binary.BigEndian.Uint64(raw), int32(binary.BigEndian.Uint32(raw[8:]))
		projects[p.ID] = p
		return nil
	})
	if err != nil {
		return err
	}
	environments := map[EnvironmentID]string{} // keys; environments come before their parts
	return tx.Bucket(bucketCurrent).ForEach(func(k, image []byte) error {
		id, o, err := parseObjectKey(k)
		if err != nil {
			return err
		}
		p := projects[id.Project]
		if p == nil {
			return fmt.Errorf("object %s of unknown project %s", o, id.Project)
		}
		if id.ID != 0 {
			o.Environment = environments[id]
		}
		if err := p.Restore(o, image); err != nil {
			return err
		}
		if o.Kind == domain.KindEnvironment {
			environments[EnvironmentID{p.ID, p.Environments.Get(o.Key).ID}] = o.Key
		}
		return nil
	})
}

// Position is the position of the last commit that readers can see.
func (v *Views) Position() uint64 { return v.published.Load().position }

// Durable is the position that the file has, from which Apply goes on after a
// restart. What is visible is in the log, and soon after in the file.
func (v *Views) Durable() uint64 { return v.writer.durable.Load() }

// Reached is the position behind which Apply goes on, also after an error.
func (v *Views) Reached() uint64 { return v.reached.Load() }

// Applied is the number of commits applied since Open.
func (v *Views) Applied() uint64 { return v.applied.Load() }

// Failure is why the views have stopped, or cannot be written; nil while they
// follow the log.
func (v *Views) Failure() error {
	if err := v.failure.Load(); err != nil {
		return *err
	}
	return v.writer.err()
}

// Wait returns when readers can see the position, or when ctx is done.
func (v *Views) Wait(ctx context.Context, position uint64) error {
	for {
		st := v.published.Load()
		if st.position >= position {
			return nil
		}
		select {
		case <-st.next:
		case <-ctx.Done():
			return fmt.Errorf("wait for position %d, now at %d: %w", position, st.position, ctx.Err())
		}
	}
}

// Project returns the project of that id; one that does not exist is empty.
func (v *Views) Project(id string) *domain.Project {
	if p := v.published.Load().projects[id]; p != nil {
		return p
	}
	return &domain.Project{ID: id}
}

// Projects returns all existing projects, in no order.
func (v *Views) Projects() []*domain.Project {
	var all []*domain.Project
	for _, p := range v.published.Load().projects {
		if p.Exists() {
			all = append(all, p)
		}
	}
	return all
}

// Token returns the token whose secret has this hex SHA-256, or nil.
func (v *Views) Token(hash string) *domain.Token { return v.published.Load().tokens[hash] }

// Answer tells which commit a client's idempotency key led to, and the hash of
// the request that it came with. Position 0 means that the key is not known.
func (v *Views) Answer(project, key string) (position uint64, requestHash string, err error) {
	parse := func(raw []byte) error {
		if raw != nil {
			position, requestHash = binary.BigEndian.Uint64(raw), string(raw[8:])
		}
		return nil
	}
	k := answerKey(project, key)
	if raw := v.writer.answer(k); raw != nil {
		return position, requestHash, parse(raw)
	}
	err = v.viewWritten(func(tx *bbolt.Tx) error { return parse(tx.Bucket(bucketAnswers).Get(k)) })
	return position, requestHash, err
}

// Dump writes every bucket, key and value to visit, in order, for comparing two
// files: views of the same log are equal byte for byte.
func (v *Views) Dump(visit func(bucket, key, value []byte) error) error {
	return v.view(func(tx *bbolt.Tx) error {
		for _, name := range buckets {
			err := tx.Bucket(name).ForEach(func(k, val []byte) error { return visit(name, k, val) })
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func encode(x any) ([]byte, error) {
	b, err := json.Marshal(x)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return b, nil
}
