// Package checkpoints signs what the log is, and notices when somebody else has
// signed something else.
//
// Every process signs checkpoints of the transparency log (see package
// transparency) with a key of its own, or with one that several share, and
// publishes them in a stream, one subject for each key:
//
//	FLAGLEDGER_CHECKPOINTS  flagledger.checkpoints.<id of the key>
//
// A message is a signed note; its header says with which public key it can be
// verified. Nothing is deleted from the stream.
//
// Every process also reads it, and compares each checkpoint with the root that
// its own views have at that size. If they differ, or the log ends before what
// was signed, this process or another one has a log that was altered: [Log.Failure]
// says so, with both roots, for as long as the process lives, and it signs
// nothing more. It begins to sign only when it has compared what was in the
// stream at its start, and before each signature looks again at the newest
// checkpoint that it knows. So it never signs two logs that contradict each other.
package checkpoints

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"flagledger/domain/transparency"
	"flagledger/eventstore/streams"
)

const (
	// Stream is the name of the stream of checkpoints.
	Stream = "FLAGLEDGER_CHECKPOINTS"
	// HeaderKey names the public key that verifies a message, once for each that does.
	HeaderKey = "Flagledger-Key"

	subjectPrefix = "flagledger.checkpoints."

	// compared is how many messages are compared that were in the stream at the
	// start: the newest of every process, since each implies the ones before it.
	compared = 1000

	requestTimeout = 5 * time.Second
	// lastWords is how long the end of a process may wait for its last checkpoint.
	lastWords = 2 * time.Second
)

// A Tree is the transparency log as this process has it.
type Tree interface {
	// Position is the number of commits.
	Position() uint64
	Wait(ctx context.Context, position uint64) error
	// TreeRoot is the root as of a position.
	TreeRoot(size uint64) (tlog.Hash, error)
	// LeafHashes are those of the commits at from and following, up to n.
	LeafHashes(from uint64, n int) ([]tlog.Hash, error)
}

// Options tune a [Log].
type Options struct {
	// KeyFile holds the keys to sign with; it is made where there is none.
	KeyFile string
	// AcceptLost makes a stream where there has been one that is gone.
	AcceptLost bool
	// Interval is the least time between two checkpoints that are signed by
	// themselves. After some quiet, a commit gets its own at once. 0: 10 s.
	Interval time.Duration
	// Lag is how long a log that ends before a checkpoint may still grow: a
	// cluster's new leader may not know its end at once. 0: 5 s.
	Lag time.Duration
	// Published is told each checkpoint that this process has published. It must
	// not block. nil: nobody is told.
	Published func(transparency.Signed)
	Now       func() time.Time // nil: time.Now
	Logger    *slog.Logger     // nil: nobody is told what goes wrong
}

// Log signs and compares checkpoints. Its methods may be called at the same time.
type Log struct {
	Options
	tree Tree

	signing sync.Mutex // held while signing

	mu       sync.Mutex // guards what follows
	origin   string     // "" until the log has a first commit
	js       jetstream.JetStream
	stream   jetstream.Stream
	compared bool                // what was in the stream at the start has been compared
	known    transparency.Signed // the largest that was compared or signed
	own      transparency.Signed // the largest signed by all of our keys
	ownAt    time.Time           // when that was published
	keys     []Key               // as they were when own was signed
	others   map[string]uint64   // public keys in the stream: the largest size that each signed

	failure    atomic.Pointer[error] // for good
	keyless    atomic.Pointer[error] // while the keys cannot be used
	position   atomic.Uint64         // in the stream: of the last message that was compared
	failures   atomic.Uint64
	unreadable atomic.Uint64
}

// Stats says how the signing is doing. The counters only grow.
type Stats struct {
	Size       uint64    // of the largest checkpoint that our keys have signed, 0 for none yet
	SignedAt   time.Time // when it was published
	Failures   uint64    // attempts to sign, or to publish what was signed, that failed
	Unreadable uint64    // messages in the stream that are no checkpoints
}

// Stats returns how the signing is doing.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Stats{Size: l.own.Size, SignedAt: l.ownAt, Failures: l.failures.Load(), Unreadable: l.unreadable.Load()}
}

// New makes one that signs what the tree is. Run starts it.
func New(tree Tree, o Options) *Log {
	if o.Interval == 0 {
		o.Interval = 10 * time.Second
	}
	if o.Lag == 0 {
		o.Lag = 5 * time.Second
	}
	if o.Published == nil {
		o.Published = func(transparency.Signed) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Log{Options: o, tree: tree, others: map[string]uint64{}}
}

// Failure says why checkpoints are not signed any more, or nil. It is for good,
// unless it is the file of keys that cannot be used: then it ends with that.
func (l *Log) Failure() error {
	if err := l.failed(); err != nil {
		return err
	}
	if err := l.keyless.Load(); err != nil {
		return *err
	}
	return nil
}

// failed says why checkpoints will never be signed again, or nil.
func (l *Log) failed() error {
	if err := l.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// readKeys reads the keys, each time anew, for they may have been rotated. That
// they cannot be used is said once, and so is that they can again.
func (l *Log) readKeys(origin string, read func(path string, now time.Time) ([]Key, error)) ([]Key, error) {
	keys, err := read(l.KeyFile, l.Now())
	if err == nil {
		err = belong(keys, origin, l.KeyFile)
	}
	if err != nil {
		if previous := l.keyless.Swap(&err); previous == nil || (*previous).Error() != err.Error() {
			l.Logger.Error("no checkpoint can be signed until the keys can be read", "error", err)
		}
		return nil, err
	}
	if l.keyless.Swap(nil) != nil {
		l.Logger.Info("the keys can be read again: checkpoints are signed", "keys", l.KeyFile)
	}
	return keys, nil
}

// fail ends signing, loudly. The first reason stays.
func (l *Log) fail(err error) error {
	if l.failure.CompareAndSwap(nil, &err) {
		l.Logger.Error("no checkpoint is signed any more", "error", err)
	}
	return err
}

// Run opens the stream, follows it, and signs what becomes of the log, until ctx
// is done; then it signs a last time. end asks for the end of the log.
func (l *Log) Run(ctx context.Context, js jetstream.JetStream, replicas int, end func(context.Context) (uint64, error)) {
	if l.tree.Wait(ctx, 1) != nil {
		return
	}
	var stream jetstream.Stream
	streams.Persist(ctx, l.Logger, "open the stream of checkpoints", l.position.Load, func() (err error) {
		stream, err = l.open(ctx, js, replicas)
		if _, lost := errors.AsType[*streams.LostError](err); lost {
			return nil // it has been said
		}
		return err
	})
	if stream == nil {
		return
	}
	streams.Persist(ctx, l.Logger, "begin to sign checkpoints", l.position.Load, l.begin)
	if ctx.Err() != nil {
		return
	}
	l.mu.Lock()
	l.js, l.stream = js, stream
	l.mu.Unlock()
	caughtUp := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		streams.Persist(ctx, l.Logger, "follow the checkpoints", l.position.Load, func() error { return l.follow(ctx, stream, end, caughtUp) })
	})
	select {
	case <-caughtUp:
		l.sign(ctx)
	case <-ctx.Done():
	}
	running.Wait()
}

// open opens the stream. It is made before the first key is: where there is a key
// and no stream, that was lost, with what proves that the log has not been altered.
func (l *Log) open(ctx context.Context, js jetstream.JetStream, replicas int) (jetstream.Stream, error) {
	obtain := streams.Reopen
	if _, err := os.Stat(l.KeyFile); errors.Is(err, fs.ErrNotExist) || l.AcceptLost {
		obtain = streams.Open
	}
	stream, err := obtain(ctx, js, jetstream.StreamConfig{
		Name:        Stream,
		Description: "Signed roots of the log of Flagledger. Never delete from it.",
		Subjects:    []string{subjectPrefix + "*"},
		Retention:   jetstream.LimitsPolicy,
		Storage:     jetstream.FileStorage,
		Compression: jetstream.S2Compression,
		Replicas:    replicas,
		Discard:     jetstream.DiscardNew,
		DenyDelete:  true,
		DenyPurge:   true,
	})
	if _, lost := errors.AsType[*streams.LostError](err); lost {
		return nil, l.fail(err)
	}
	return stream, err
}

// begin finds out the name of the log, and reads or makes the keys.
func (l *Log) begin() error {
	first, err := l.tree.LeafHashes(1, 1)
	if err != nil || len(first) == 0 {
		return fmt.Errorf("read the first leaf: %w", err)
	}
	origin := transparency.Origin(first[0])
	keys, err := l.readKeys(origin, func(path string, now time.Time) ([]Key, error) { return obtainKeys(path, origin, now) })
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.origin, l.keys = origin, keys
	for _, k := range keys {
		l.Logger.Info("signing checkpoints of the log", "verify_with", k.Vkey)
	}
	return nil
}

// belong refuses keys of another log: this one was replaced, or its first commit altered.
func belong(keys []Key, origin, file string) error {
	for _, k := range keys {
		if k.Name() != origin {
			return fmt.Errorf("the log here begins as %s, but the key in %s signs %s: either the log was replaced or altered from its first commit on, or the key belongs elsewhere", origin, file, k.Name())
		}
	}
	return nil
}

// sign signs whenever there are new commits, and at the end. While there are none
// it looks whether it could.
func (l *Log) sign(ctx context.Context) {
	for {
		l.mu.Lock()
		size, origin := l.own.Size, l.origin
		l.mu.Unlock()
		quiet, cancel := context.WithTimeout(ctx, l.Interval)
		news := l.tree.Wait(quiet, size+1) == nil
		cancel()
		streams.Persist(ctx, l.Logger, "sign a checkpoint", l.position.Load, func() (err error) {
			if news {
				_, err = l.Checkpoint(ctx)
			} else {
				_, err = l.readKeys(origin, ReadKeys)
			}
			if l.failed() != nil {
				return nil // it has been said
			}
			return err
		})
		if news {
			timer := time.NewTimer(l.Interval)
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
			timer.Stop()
		}
		if l.failed() != nil {
			return
		}
		if ctx.Err() != nil {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
			defer cancel()
			if _, err := l.Checkpoint(ctx); err != nil {
				l.Logger.Warn("sign the last checkpoint", "error", err)
			}
			return
		}
	}
}

// ErrNotYet says that the process is still comparing its log with the
// checkpoints that there are.
var ErrNotYet = errors.New("checkpoints are not signed yet: the log is still compared with those of the past")

// Checkpoint returns one of all that is visible, which it signs and publishes
// where there is none yet.
func (l *Log) Checkpoint(ctx context.Context) (transparency.Signed, error) {
	signed, err := l.checkpoint(ctx)
	if err != nil && !errors.Is(err, ErrNotYet) {
		l.failures.Add(1)
	}
	return signed, err
}

func (l *Log) checkpoint(ctx context.Context) (transparency.Signed, error) {
	l.signing.Lock()
	defer l.signing.Unlock()
	if err := l.failed(); err != nil {
		return transparency.Signed{}, err
	}
	l.mu.Lock()
	known, own, origin, ready, js, before := l.known, l.own, l.origin, l.compared, l.js, l.keys
	l.mu.Unlock()
	if !ready {
		return transparency.Signed{}, cmp.Or(l.Failure(), ErrNotYet)
	}
	keys, err := l.readKeys(origin, ReadKeys)
	if err != nil {
		return transparency.Signed{}, err
	}
	size := l.tree.Position()
	if own.Size >= size && sameKeys(keys, before) {
		return own, nil
	}
	if err := l.compare(known); err != nil {
		return transparency.Signed{}, err
	}
	root, err := l.tree.TreeRoot(size)
	if err != nil {
		return transparency.Signed{}, fmt.Errorf("compute root at %d: %w", size, err)
	}
	signers := make([]note.Signer, len(keys))
	for i, k := range keys {
		signers[i] = k
	}
	signed, err := transparency.Checkpoint{Origin: origin, Size: size, Root: root}.Sign(signers...)
	if err != nil {
		return transparency.Signed{}, err
	}
	if err := publish(ctx, js, signed, keys); err != nil {
		return transparency.Signed{}, err
	}
	if !sameKeys(keys, before) {
		for _, k := range keys {
			l.Logger.Info("signing checkpoints of the log", "verify_with", k.Vkey)
		}
	}
	l.mu.Lock()
	l.own, l.ownAt, l.keys = signed, l.Now(), keys
	if signed.Size > l.known.Size {
		l.known = signed
	}
	l.mu.Unlock()
	l.Published(signed)
	return signed, nil
}

func sameKeys(a, b []Key) bool {
	return slices.EqualFunc(a, b, func(a, b Key) bool { return a.Vkey == b.Vkey })
}

func publish(ctx context.Context, js jetstream.JetStream, signed transparency.Signed, keys []Key) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	header := nats.Header{}
	for _, k := range keys {
		header.Add(HeaderKey, k.Vkey)
	}
	subject := fmt.Sprintf("%s%08x", subjectPrefix, keys[0].KeyHash())
	_, err := js.PublishMsg(ctx, &nats.Msg{Subject: subject, Header: header, Data: []byte(signed.Note)}, jetstream.WithExpectStream(Stream))
	if err != nil {
		return fmt.Errorf("publish checkpoint of size %d: %w", signed.Size, err)
	}
	return nil
}

func vkeysOf(keys []Key) []string {
	var all []string
	for _, k := range keys {
		all = append(all, k.Vkey)
	}
	return all
}

// A PublicKey is one that checkpoints can be verified with.
type PublicKey struct {
	Vkey  string
	Own   bool      // of this process
	Until time.Time // of an own one: when it ends; zero: not known
	Size  uint64    // of the largest checkpoint it has signed, 0 for none yet
}

// Keys are those that have signed a checkpoint in the stream, as far as this
// process has read it, and its own.
func (l *Log) Keys() []PublicKey {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []PublicKey
	for _, k := range l.keys {
		all = append(all, PublicKey{Vkey: k.Vkey, Own: true, Until: k.Until, Size: l.others[k.Vkey]})
	}
	for _, vkey := range slices.Sorted(maps.Keys(l.others)) {
		if !slices.ContainsFunc(l.keys, func(k Key) bool { return k.Vkey == vkey }) {
			all = append(all, PublicKey{Vkey: vkey, Size: l.others[vkey]})
		}
	}
	return all
}

// Position is that of the last message in the stream that was compared.
func (l *Log) Position() uint64 { return l.position.Load() }

// All gives the checkpoints of the stream in the order in which they were
// published, up to what was its end at the call. After an error there is nothing
// more.
func (l *Log) All(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		l.mu.Lock()
		stream := l.stream
		l.mu.Unlock()
		if stream == nil {
			yield("", ErrNotYet)
			return
		}
		info, err := streams.Ask(ctx, func(ctx context.Context) (*jetstream.StreamInfo, error) { return stream.Info(ctx) })
		if err != nil {
			yield("", fmt.Errorf("ask for the end of the stream of checkpoints: %w", err))
			return
		}
		last := info.State.LastSeq
		if info.State.Msgs == 0 {
			return
		}
		reader := streams.Read(stream, 0)
		defer reader.Close()
		for at := uint64(0); at < last; {
			msg, err := reader.Next(ctx)
			if errors.Is(err, streams.ErrQuiet) {
				continue
			}
			if err != nil {
				yield("", fmt.Errorf("read the checkpoints behind %d: %w", at, err))
				return
			}
			at = msg.Position
			if !yield(string(msg.Data), nil) {
				return
			}
		}
	}
}
