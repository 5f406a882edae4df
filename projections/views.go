// Package projections keeps the read side of Flagledger: what the log says,
// folded into one bbolt file and into snapshots in memory.
//
// [Views.Apply] takes the commits of the log in order. Everything that follows
// from a commit (the state of its project, the history of each object, the
// versions of the environments, the audit index, the answers to retries, the
// hashes of the transparency log and the position) is written in one
// transaction, so that after a crash the views are as of some position and go on
// from there. While catching up, many commits share a transaction. The file can
// be deleted at any time: it is made again from the log, to the same bytes.
//
// What has been applied is published whole, as an immutable state behind one
// atomic pointer; readers take no lock. [Views.Wait] waits for a position.
package projections

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/mod/sumdb/tlog"

	"flagledger/domain"
	"flagledger/domain/transparency"
)

// maxBatch is how much a transaction may write while catching up, in bytes, so
// that the memory it takes does not depend on what is in the log.
const maxBatch = 64 << 20

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

	mu      sync.Mutex // guards what follows: the writer's side
	newest  *state     // what the next batch begins with, ahead of what is written
	written *state     // what is in the file, published unless the views are being built
	batch   *batch
	writing chan error // the outcome of the transaction under way; nil: there is none
	failed  uint64     // position at which applying failed last; up to it every commit has a transaction of its own
	failure atomic.Pointer[error]
	applied atomic.Uint64 // commits applied since Open
	durable atomic.Uint64 // position of the last transaction
	catchUp catchUp

	building atomic.Bool   // the file is behind what is published, see Rebuild
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
	return append(b, d.Bytes()...)
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
	err := v.open()
	if errors.Is(err, errDamaged) {
		err = v.startAnew(err)
	}
	if err != nil {
		return nil, err
	}
	return v, nil
}

// A FileInfo is what Check finds in a views file.
type FileInfo struct {
	Schema   int
	Position uint64
	Root     tlog.Hash // of the transparency log as of the position
}

// Check verifies a views file that nobody has open, and changes nothing. Of a
// file of another schema it only tells which.
func Check(path string, schema int) (info FileInfo, err error) {
	stat, err := os.Stat(path)
	if err != nil {
		return FileInfo{}, fmt.Errorf("check views: %w", err)
	}
	if stat.Mode().IsRegular() && stat.Size() == 0 {
		return FileInfo{}, fmt.Errorf("%w: %s is empty", errDamaged, path)
	}
	var db *bbolt.DB
	err = guard(func() (err error) {
		db, err = openBolt(path, &bbolt.Options{Timeout: time.Second, ReadOnly: true})
		return err
	})
	if err != nil {
		return FileInfo{}, err
	}
	defer func() { _ = guard(db.Close) }() // it was only read
	read := func(do func(*bbolt.Tx) error) error { return guard(func() error { return db.View(do) }) }
	err = read(func(tx *bbolt.Tx) error {
		info.Schema, info.Position = readMeta(tx)
		return nil
	})
	if err != nil || info.Schema != schema && info.Schema != 0 {
		return info, err
	}
	if err := verify(context.Background(), db); err != nil {
		return info, err
	}
	return info, read(func(tx *bbolt.Tx) error {
		tree, err := loadTree(tx, info.Position)
		info.Root = tree.Root()
		return err
	})
}

// ErrInUse says that another process has the file.
var ErrInUse = errors.New("is in use by another process")

// errDamaged says that the file is not what was written.
var errDamaged = errors.New("the views file is damaged")

// guard does something with the file. bbolt panics at pages that cannot be, and
// reads where a file that was cut has none; both come back as errDamaged.
func guard(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			if _, fault := p.(runtime.Error); fault { // where there is nothing any more, or a number that cannot be
				p = "a page is missing, or not what was written"
			}
			err = fmt.Errorf("%w: it was cut or overwritten (%v)", errDamaged, p)
		}
	}()
	return do()
}

// open opens the file, makes sure that it is whole and loads it.
func (v *Views) open() error {
	db, err := v.openFile()
	if err != nil {
		return err
	}
	v.db.Store(db)
	if err := guard(v.load); err != nil {
		return errors.Join(fmt.Errorf("%w: load %s: %w", errDamaged, v.path, err), db.Close())
	}
	return nil
}

// startAnew sets the damaged file aside and opens an empty one.
func (v *Views) startAnew(damage error) error {
	v.log.Error("the views are damaged: they are set aside and made again from the log", "path", v.path, "aside", v.path+".damaged", "error", damage)
	if err := os.Rename(v.path, v.path+".damaged"); err != nil {
		return fmt.Errorf("set damaged views aside: %w", err)
	}
	v.damaged.Add(1)
	return v.open()
}

// verifyFirst is the size up to which a file is verified before it is used, in
// bytes, which takes some 0.6 s. To read a larger one would hold up the start
// for seconds; it is verified beside what the process does.
const verifyFirst = 1 << 30

// openFile opens a file that is whole, a new one where there is none, or one of
// another schema.
func (v *Views) openFile() (*bbolt.DB, error) {
	begun := time.Now()
	info, err := os.Stat(v.path)
	fresh := err != nil || info.Size() == 0
	var db *bbolt.DB
	schema := v.schema
	err = guard(func() (err error) {
		if db, err = openBolt(v.path, &bbolt.Options{Timeout: time.Second, FreelistType: bbolt.FreelistMapType}); err != nil {
			return err
		}
		if fresh {
			return db.Update(func(tx *bbolt.Tx) error { return create(tx, v.schema) })
		}
		return db.View(func(tx *bbolt.Tx) error {
			schema, _ = readMeta(tx)
			return nil
		})
	})
	if db == nil {
		return nil, err
	}
	if err == nil && schema != 0 && schema != v.schema {
		v.log.Info("views have another schema: rebuilding them from the log", "path", v.path, "found", schema, "wanted", v.schema)
		if err := errors.Join(db.Close(), os.Remove(v.path)); err != nil {
			return nil, fmt.Errorf("remove views of schema %d: %w", schema, err)
		}
		return v.openFile()
	}
	later := !fresh && info.Size() > verifyFirst
	if err == nil && !later {
		err = verify(context.Background(), db)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prepare views %s: %w", v.path, err), guard(db.Close))
	}
	if later {
		v.suspectDamage() // Watch begins with it
	} else if !fresh {
		v.log.Info("the views are whole", "path", v.path, "bytes", info.Size(), "verified_in", time.Since(begun).Round(time.Millisecond))
	}
	return db, nil
}

// openBolt is bbolt.Open with errors that say what to do.
func openBolt(path string, options *bbolt.Options) (*bbolt.DB, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil, fmt.Errorf("%w: %s is a directory", errDamaged, path)
	}
	db, err := bbolt.Open(path, 0o600, options)
	if errors.Is(err, bbolterrors.ErrTimeout) {
		return nil, fmt.Errorf("open views: %s %w; each needs a data directory of its own", path, ErrInUse)
	}
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, fmt.Errorf("open views: %w", err)
	}
	if err != nil { // it can be read, and is not what bbolt writes
		return nil, fmt.Errorf("%w: open %s: %w", errDamaged, path, err)
	}
	return db, nil
}

// create makes an empty file of the schema.
func create(tx *bbolt.Tx, schema int) error {
	for _, name := range buckets {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	s := summing(tx)
	if err := s.put(bucketMeta, metaSchema, bigEndian(uint64(schema))); err != nil {
		return err
	}
	return s.save()
}

// readMeta reads schema and position, 0 where there is none.
func readMeta(tx *bbolt.Tx) (schema int, position uint64) {
	meta := tx.Bucket(bucketMeta)
	if meta == nil {
		return 0, 0
	}
	if raw := meta.Get(metaSchema); raw != nil {
		schema = int(binary.BigEndian.Uint64(raw))
	}
	if raw := meta.Get(metaPosition); raw != nil {
		position = binary.BigEndian.Uint64(raw)
	}
	return schema, position
}

// Close closes the file. What was not yet in a transaction is applied again
// after the next Open.
func (v *Views) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.batch = nil
	return errors.Join(v.settle(), v.db.Load().Close())
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
	v.newest, v.written = st, st
	v.durable.Store(st.position)
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

// Durable is the position from which Apply goes on after a restart or failure.
// What is visible is durable, or was before the file was damaged.
func (v *Views) Durable() uint64 { return v.durable.Load() }

// Applied is the number of commits applied since Open.
func (v *Views) Applied() uint64 { return v.applied.Load() }

// Failure is why the views have stopped, or nil while they follow the log.
func (v *Views) Failure() error {
	if err := v.failure.Load(); err != nil {
		return *err
	}
	return nil
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

// Apply takes the next commit. pending is how many more are known to follow:
// with 0, everything is made durable and visible before Apply returns; otherwise
// commits share transactions, each of which is written while the next one is
// made. After an error nothing since Durable is kept, and the log must be read
// from there.
func (v *Views) Apply(rec domain.Recorded, pending uint64) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.batch == nil {
		v.batch = newBatch(v.newest)
	}
	v.catchUp.note(v.batch.position, rec.Position+pending)
	if rec.Position <= v.batch.position {
		return nil
	}
	if err := v.apply(rec, pending); err != nil {
		err = fmt.Errorf("apply commit %d: %w", rec.Position, errors.Join(err, v.settle()))
		v.newest, v.batch = v.written, nil
		v.failed = rec.Position
		v.failure.Store(&err)
		return err
	}
	if rec.Position >= v.failed { // they catch up, and have come past it
		v.failure.Store(nil)
		v.failed = 0
	}
	return nil
}

func (v *Views) apply(rec domain.Recorded, pending uint64) error {
	if at := v.batch.position; rec.Position != at+1 {
		return fmt.Errorf("the log has a gap: the last commit was %d", at)
	}
	if err := v.batch.apply(rec); err != nil {
		return err
	}
	if pending > 0 && !v.batch.full() && rec.Position > v.failed {
		return nil
	}
	if err := v.flush(pending); err != nil {
		return err
	}
	if pending > 0 && rec.Position > v.failed {
		return nil
	}
	return v.settle()
}

// flush begins to make the batch durable and then visible. The first time, the
// views are visible only when they are complete.
func (v *Views) flush(pending uint64) error {
	b := v.batch
	if b.base.position == 0 && pending > 0 {
		v.building.Store(true)
	}
	complete := !v.building.Load() || pending == 0 && b.position >= v.Position()
	next, err := v.publishable(b, complete)
	if err != nil {
		return err
	}
	if err := v.settle(); err != nil {
		return err
	}
	writing := make(chan error, 1)
	v.newest, v.batch, v.writing = next, nil, writing
	go func() {
		err := guard(func() error { return b.write(v.db.Load()) })
		if errors.Is(err, errDamaged) {
			v.suspectDamage()
		}
		if err == nil {
			v.written = next // settle, which is waited for, comes before anybody reads it
			v.durable.Store(next.position)
			v.applied.Add(uint64(b.commits))
			v.catchUp.log(v.log, next.position, pending)
			if complete {
				v.building.Store(false)
				v.publish(next)
			}
		}
		writing <- err
	}()
	return nil
}

// settle waits for the transaction under way.
func (v *Views) settle() error {
	if v.writing == nil {
		return nil
	}
	err := <-v.writing
	v.writing = nil
	return err
}

// publish lets readers see the state.
func (v *Views) publish(next *state) {
	previous := v.published.Swap(next)
	close(previous.next)
	for id, snap := range previous.snapshots {
		if next.snapshots[id] != snap {
			close(snap.superseded)
		}
	}
}

// publishable makes the state after the batch. Only one that is complete is
// published, and needs snapshots.
func (v *Views) publishable(b *batch, complete bool) (*state, error) {
	next := &state{
		position: b.position, projects: maps.Clone(b.base.projects), snapshots: maps.Clone(b.base.snapshots), uncompiled: !complete,
		keys: b.base.keys, tokens: b.base.tokens, heads: maps.Clone(b.base.heads), tree: b.tree, next: make(chan struct{}),
	}
	maps.Copy(next.projects, b.projects)
	maps.Copy(next.heads, b.heads)
	if b.keysTouched {
		next.indexKeys()
	}
	touched := b.touched
	if b.base.uncompiled {
		touched = next.environments()
		maps.DeleteFunc(next.snapshots, func(id EnvironmentID, _ *Snapshot) bool { return touched[id] == "" })
	}
	if !complete {
		return next, nil
	}
	for id, key := range touched {
		p := next.projects[id.Project]
		env := p.Environments.Get(key)
		if env == nil || env.ID != id.ID {
			delete(next.snapshots, id)
			continue
		}
		snap, err := v.compile(next.snapshots[id], p, env, next.heads[id])
		if err != nil {
			return nil, err
		}
		next.snapshots[id] = snap
	}
	return next, nil
}

// environments are the keys of all that there are.
func (st *state) environments() map[EnvironmentID]string {
	all := map[EnvironmentID]string{}
	for _, p := range st.projects {
		for key, env := range p.Environments.All() {
			all[EnvironmentID{p.ID, env.ID}] = key
		}
	}
	return all
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
	err = v.view(func(tx *bbolt.Tx) error {
		raw := tx.Bucket(bucketAnswers).Get(answerKey(project, key))
		if raw == nil {
			return nil
		}
		position, requestHash = binary.BigEndian.Uint64(raw), string(raw[8:])
		return nil
	})
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
