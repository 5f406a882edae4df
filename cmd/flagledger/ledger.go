package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/domain/evaluation"
	"flagledger/eventstore"
	"flagledger/eventstore/access"
	"flagledger/eventstore/blocks"
	"flagledger/eventstore/checkpoints"
	"flagledger/eventstore/identities"
	"flagledger/eventstore/streams"
	"flagledger/eventstore/usage"
	"flagledger/projections"
)

// ledger ties the log and the identity store to the views and to what commands
// and HTTP need of them. While the log cannot be reached, also at the start,
// evaluation goes on from the views; only what must be recorded is refused.
type ledger struct {
	config config
	views  *projections.Views
	usage  *usage.Store
	looks  *access.Store
	signed *checkpoints.Log
	copies *copies
	log    *slog.Logger

	opened    atomic.Pointer[opened]
	connected chan struct{} // closed when opened is set
	current   chan struct{} // closed when the views have seen all that was there at the start
	unkept    chan struct{} // a project may keep less of persons than before
	unkeptAt  atomic.Uint64 // the position since which that is so
	started   atomic.Bool   // the views have seen all that was there at the start, and the first token is made
	cause     atomic.Pointer[error]
}

// opened is what there is once the log is reached.
type opened struct {
	store      *eventstore.Store
	persons    *identities.Store
	subscriber atomic.Pointer[eventstore.Subscriber]
}

func newLedger(c config, views *projections.Views, counted *usage.Store, looks *access.Store, log *slog.Logger) *ledger {
	return &ledger{config: c, views: views, usage: counted, looks: looks, log: log, connected: make(chan struct{}), current: make(chan struct{}), unkept: make(chan struct{}, 1)}
}

// run reaches the log and follows it until ctx is done.
func (l *ledger) run(ctx context.Context) error {
	o, err := l.reach(ctx)
	if err != nil {
		return err
	}
	if o == nil {
		return nil // stopped before the log was reached
	}
	store, persons := o.store, o.persons
	l.opened.Store(o)
	close(l.connected)
	beside, stopBeside := context.WithCancel(ctx)
	var others sync.WaitGroup // those beside the log
	others.Go(func() { l.usage.Run(beside, store.JetStream(), store.Replicas()) })
	others.Go(func() { l.looks.Run(beside, store.JetStream(), store.Replicas()) })
	others.Go(func() { l.signed.Run(beside, store.JetStream(), store.Replicas(), store.LastPosition) })
	copying, stopCopying := context.WithCancel(context.WithoutCancel(ctx)) // until the last checkpoint is signed
	defer stopCopying()
	var copied sync.WaitGroup
	copied.Go(func() { l.copies.run(copying, time.Second) })
	err = l.keepViews(ctx, o)
	stopBeside()
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	err = errors.Join(err, persons.Close(flush))
	others.Wait()
	stopCopying()
	copied.Wait()
	return errors.Join(err, store.Close())
}

// reach opens the log and the identities beside it. What is embedded and cannot
// be opened is an error, unless its files are damaged: then the views are all there
// is until the end. A cluster is tried again until it is there.
func (l *ledger) reach(ctx context.Context) (*opened, error) {
	opts := eventstore.Options{
		URL: l.config.natsURL, CredentialsFile: l.config.natsCreds, CAFile: l.config.natsCA, Replicas: l.config.replicas, Known: l.views.Durable, Logger: l.log,
	}
	if opts.URL == "" {
		opts.Dir = l.config.dataDir
	}
	for {
		o, err := l.open(ctx, opts)
		switch {
		case err == nil:
			return o, nil
		case ctx.Err() != nil:
			return nil, nil
		case isDamage(err) || opts.URL == "" && isLost(err):
			l.cause.Store(&err)
			l.log.Error("the log is damaged, or a stream beside it gone: nothing is recorded, evaluation goes on from the views; what to do is in docs/operations.md", "error", err)
			<-ctx.Done() // who repairs it starts the process anew
			return nil, nil
		case opts.URL == "" || eventstore.Permanent(err):
			return nil, err
		}
		l.cause.Store(&err)
		l.log.Warn("the log cannot be reached; evaluation goes on from the views", "error", err)
		pause(ctx)
	}
}

func isDamage(err error) bool {
	_, ok := errors.AsType[*blocks.Damage](err)
	return ok
}

// isLost tells whether a stream beside the log is gone.
func isLost(err error) bool {
	_, ok := errors.AsType[*streams.LostError](err)
	return ok
}

func (l *ledger) open(ctx context.Context, opts eventstore.Options) (*opened, error) {
	store, err := eventstore.Open(ctx, opts)
	if err != nil {
		return nil, err
	}
	last, err := store.LastPosition(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("find the end of the log: %w", err), store.Close())
	}
	undo := collectLess(150) // a fifth less work for a million persons
	files := ""
	if opts.Dir != "" {
		files = filepath.Join(opts.Dir, "nats")
	}
	persons, err := identities.Open(ctx, store.JetStream(), identities.Options{
		Replicas: store.Replicas(), Files: files, Established: last > 0 && !l.config.acceptLost, MaxTraits: l.config.limits["traits"], Logger: l.log,
	})
	undo()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open identity store: %w", err), store.Close())
	}
	o := &opened{store: store, persons: persons}
	o.subscriber.Store(store.Subscriber(l.views.Reached))
	return o, nil
}

// pause lets some time pass before something is tried again.
func pause(ctx context.Context) {
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// keepViews feeds the log to the views until ctx is done. When their file turns
// out to be damaged, they are made again from the beginning of the log.
func (l *ledger) keepViews(ctx context.Context, o *opened) error {
	for {
		following, stop := context.WithCancel(ctx)
		var watching sync.WaitGroup
		var damage error
		watching.Go(func() {
			damage = l.views.Watch(following)
			stop()
		})
		err := l.follow(following, o)
		stop()
		watching.Wait()
		if err != nil || damage == nil {
			return err
		}
		if err := l.views.Rebuild(damage); err != nil {
			return err
		}
		o.subscriber.Store(o.store.Subscriber(l.views.Reached)) // the one before is closed
	}
}

// follow feeds the log to the views, through a watermill router, until ctx is
// done. When the log turns out not to be the history it was, the views stop and
// readiness says why.
func (l *ledger) follow(ctx context.Context, o *opened) error {
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: 2 * time.Second}, watermill.NewSlogLoggerWithLevelMapping(l.log, map[slog.Level]slog.Level{slog.LevelInfo: slog.LevelDebug}))
	if err != nil {
		return fmt.Errorf("make router: %w", err)
	}
	subscriber := o.subscriber.Load()
	router.AddConsumerHandler("views", eventstore.Subjects, subscriber, func(msg *message.Message) error {
		rec, err := eventstore.Decode(msg)
		if err != nil {
			return fmt.Errorf("decode commit: %w", err)
		}
		pending, err := strconv.ParseUint(msg.Metadata[eventstore.MetaPending], 10, 64)
		if err != nil {
			return fmt.Errorf("commit %d: pending: %w", rec.Position, err)
		}
		err = l.views.Apply(rec, pending)
		if err == nil && unkeeps(rec.Commit) {
			l.unkeptAt.Store(rec.Position)
			select {
			case l.unkept <- struct{}{}:
			default: // it is known already
			}
		}
		return err
	})
	if err := router.Run(ctx); err != nil {
		return fmt.Errorf("follow the log: %w", err)
	}
	if ctx.Err() == nil { // the subscriber gave up
		l.log.Error("the views do not follow the log any more", "error", subscriber.Err())
		<-ctx.Done()
	}
	return nil
}

// collectLess has garbage collected only when there is so much more of it than
// of what is in use, in percent, until it is undone: who fills the memory from
// nothing would otherwise look through it again each time that it has doubled.
// What the environment says of it counts more.
func collectLess(percent int) (undo func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	before := debug.SetGCPercent(percent)
	return func() {
		debug.SetGCPercent(before)
		go debug.FreeOSMemory() // what there was more of goes back
	}
}

// catchingUp is what collectLess is told while the views catch up with many
// commits: a sixth less work, for some hundred MiB until it is done.
const catchingUp = 200

// manyCommits are so many that the views take a second or more to catch up.
const manyCommits = 10_000

// caughtUp returns when the views show all that the log held at the start.
func (l *ledger) caughtUp(ctx context.Context) error {
	select {
	case <-l.connected:
	case <-ctx.Done():
		return ctx.Err()
	}
	last, err := l.opened.Load().store.LastPosition(ctx)
	if err != nil {
		return fmt.Errorf("find the end of the log: %w", err)
	}
	if last > l.views.Position()+manyCommits {
		defer collectLess(catchingUp)()
	}
	return l.views.Wait(ctx, last)
}

// currentWithin is how long a request waits for the views to catch up at the start.
const currentWithin = 2 * time.Second

// awaitCurrent waits a little until the views have seen all that was there at the
// start, and tells whether they have. It does not wait for what stands still: a
// log that cannot be reached, views that have stopped, or that know nothing yet.
func (l *ledger) awaitCurrent(ctx context.Context) bool {
	select {
	case <-l.current:
		return true
	default:
	}
	late := time.NewTimer(currentWithin)
	defer late.Stop()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		o := l.opened.Load()
		switch {
		case o == nil && l.cause.Load() != nil,
			o != nil && o.subscriber.Load().Err() != nil,
			l.views.Failure() != nil, l.views.Building(), l.views.Position() == 0:
			return true
		}
		select {
		case <-l.current:
			return true
		case <-again.C:
		case <-late.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// begun says that all is done that a start does.
func (l *ledger) begun() {
	l.started.Store(true)
	l.log.Info("ready", "position", l.views.Position())
}

// ready tells why the process cannot do its whole work.
func (l *ledger) ready(ctx context.Context) error {
	o := l.opened.Load()
	if o == nil {
		if cause := l.cause.Load(); cause != nil {
			return fmt.Errorf("the log has not been reached yet: %w", *cause)
		}
		return errors.New("the log has not been reached yet")
	}
	if err := l.views.Failure(); err != nil {
		err = fmt.Errorf("the views have stopped, or cannot be written: %w", err)
		checking, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		if log := o.store.Health(checking); log != nil { // a full disk stops both, and this says what to do
			return fmt.Errorf("%w; %w", log, err)
		}
		return err
	}
	if err := o.subscriber.Load().Err(); err != nil {
		return fmt.Errorf("the views have stopped: %w", err)
	}
	if err := l.signed.Failure(); err != nil {
		return fmt.Errorf("the log is not what it was, or its checkpoints cannot be signed: %w", err)
	}
	if l.views.Building() {
		return fmt.Errorf("the views are being made from the log: %s", l.views.Progress())
	}
	if !l.started.Load() {
		return fmt.Errorf("the process is starting, its views at %s", l.views.Progress())
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return o.store.Health(ctx)
}

// notReached is the refusal while there is no log.
func (l *ledger) notReached() error {
	if cause := l.cause.Load(); cause != nil && (isDamage(*cause) || isLost(*cause)) {
		return domain.Refuse(domain.Unavailable, "the files of the log are damaged, or a stream beside it is gone, so that nothing can be recorded: they must be repaired or a backup restored")
	}
	return domain.Refuse(domain.Unavailable, "the log has not been reached yet, so that nothing can be recorded; try again")
}

// Append implements commands.Log.
func (l *ledger) Append(ctx context.Context, c domain.Commit, expected uint64) (uint64, error) {
	o := l.opened.Load()
	if o == nil {
		return 0, l.notReached()
	}
	position, err := o.store.Append(ctx, c, expected)
	if _, ok := errors.AsType[*eventstore.ConflictError](err); ok {
		return 0, fmt.Errorf("%w: %w", commands.ErrConflict, err)
	}
	return position, err
}

// Surrogate implements commands.Persons.
func (l *ledger) Surrogate(ctx context.Context, project string, environment int32, identifier string) (string, error) {
	o := l.opened.Load()
	if o == nil {
		return "", l.notReached()
	}
	return o.persons.Surrogate(ctx, identities.EnvironmentToken(project, environment), identifier)
}

// Lookup implements commands.Persons.
func (l *ledger) Lookup(project string, environment int32, identifier string) string {
	if id := l.Get(projections.EnvironmentID{Project: project, ID: environment}, identifier); id != nil {
		return id.Surrogate
	}
	return ""
}

// Name implements commands.Persons.
func (l *ledger) Name(project string, environment int32, surrogate string) string {
	return l.Identifier(projections.EnvironmentID{Project: project, ID: environment}, surrogate)
}

func token(id projections.EnvironmentID) identities.Environment {
	return identities.EnvironmentToken(id.Project, id.ID)
}

// Get implements httpapi.Identities.
func (l *ledger) Get(id projections.EnvironmentID, identifier string) *domain.Identity {
	if o := l.opened.Load(); o != nil {
		return o.persons.Get(token(id), identifier)
	}
	return nil
}

// Identify implements httpapi.Identities.
func (l *ledger) Identify(id projections.EnvironmentID, identifier string, traits []evaluation.Trait) *domain.Identity {
	if o := l.opened.Load(); o != nil {
		return o.persons.Identify(token(id), identifier, traits)
	}
	return &domain.Identity{Identifier: identifier, Traits: traits} // known by what it says of itself
}

// Identifier implements httpapi.Identities.
func (l *ledger) Identifier(id projections.EnvironmentID, surrogate string) string {
	if o := l.opened.Load(); o != nil {
		identifier, _ := o.persons.Identifier(token(id), surrogate)
		return identifier
	}
	return ""
}

// List implements httpapi.Identities.
func (l *ledger) List(id projections.EnvironmentID, after string, limit int) []*domain.Identity {
	if o := l.opened.Load(); o != nil {
		return o.persons.List(token(id), after, limit)
	}
	return nil
}

// Erase implements httpapi.Identities.
func (l *ledger) Erase(ctx context.Context, id projections.EnvironmentID, identifier string) (string, bool, error) {
	o := l.opened.Load()
	if o == nil {
		return "", false, l.notReached()
	}
	return o.persons.Erase(ctx, token(id), identifier)
}
