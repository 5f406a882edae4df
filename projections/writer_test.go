package projections_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/domain/evaluation"
	"flagledger/projections"
)

// replayed are views of the log, each commit with a state of its own.
func replayed(t *testing.T, log []domain.Recorded) *projections.Views {
	t.Helper()
	v := replay(t, t.TempDir(), log, func(int) uint64 { return 0 })
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

// holding keeps transactions from going on, once they have begun, until they are
// released.
func holding(t *testing.T, v *projections.Views) (begun <-chan struct{}, release func()) {
	t.Helper()
	begin, gate := make(chan struct{}, 100), make(chan struct{})
	v.BeforeWriting(func() error {
		begin <- struct{}{}
		<-gate
		return nil
	})
	var once sync.Once
	release = func() { once.Do(func() { close(gate) }) }
	t.Cleanup(release)
	return begin, release
}

// until waits for what is to happen.
func until(t *testing.T, what string, happened <-chan struct{}) {
	t.Helper()
	select {
	case <-happened:
	case <-time.After(time.Minute):
		t.Fatalf("%s did not happen", what)
	}
}

// A commit is visible before it is written. Who then reads the past gets it all
// the same, and what is known of a retry is known at once.
func TestVisibleBeforeItIsWritten(t *testing.T) {
	v := emptyViews(t)
	begun, release := holding(t, v)
	log := shopLog(t, 6)
	log[2].IdempotencyKey, log[2].RequestHash = "again", "abc"
	log[5].IdempotencyKey, log[5].RequestHash = "later", "def"
	shop := domain.ProjectID("shop")
	prod := projections.EnvironmentID{Project: shop, ID: 2}
	for _, rec := range log[:3] {
		if err := v.Apply(rec, 0); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "the first transaction, for which nobody asked,", begun)
	for _, rec := range log[3:] {
		if err := v.Apply(rec, 0); err != nil {
			t.Fatal(err)
		}
	}
	if s := v.Snapshot(prod); v.Position() != 6 || v.Durable() != 0 || s == nil || s.Version != 6 {
		t.Fatalf("visible are %d, written %d, the snapshot is %+v", v.Position(), v.Durable(), s)
	}
	for key, want := range map[string]uint64{"again": 3, "later": 6, "never": 0} {
		if position, hash, err := v.Answer(shop, key); err != nil || position != want || want == 3 && hash != "abc" {
			t.Errorf("%q led to %d, %q, %v; want %d", key, position, hash, err, want)
		}
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		if e, err := v.AuditEntry(6, nil); err != nil || e.Position != 6 || v.Durable() != 6 {
			t.Errorf("the newest entry is %+v, written %d: %v", e, v.Durable(), err)
		}
	}()
	select {
	case <-read:
		t.Error("the past was read before it was written")
	case <-begun:
		t.Error("two transactions at a time")
	default:
	}
	release()
	until(t, "reading the past", read)
	if transactions := 1 + len(begun); transactions != 2 {
		t.Errorf("%d transactions for 6 commits, of which three came while the first was under way", transactions)
	}
	for key, want := range map[string]uint64{"again": 3, "later": 6, "never": 0} {
		if position, _, err := v.Answer(shop, key); err != nil || position != want {
			t.Errorf("once it is written %q led to %d, %v; want %d", key, position, err, want)
		}
	}
	if got, want := dumpOf(t, v), dumpOf(t, replayed(t, log)); !maps.Equal(got, want) {
		t.Errorf("in the end: %v", differences(got, want))
	}
}

// What was visible and not written when the process was killed is the same once
// it is applied again: positions, versions and the seconds that stand for them.
func TestKilledBeforeItIsWritten(t *testing.T) {
	l := newLedger(t, t.TempDir()).closing(t)
	l.do(t, opening()...)
	for i := range 5 {
		l.do(t, setting("prod", "checkout", fmt.Sprint(i)))
	}
	if err := l.Written(); err != nil {
		t.Fatal(err)
	}
	durable := l.Position()
	begun, release := holding(t, l.Views)
	for i := range 20 {
		l.do(t, setting("prod", "checkout", fmt.Sprint("later", i)))
		if i%7 == 3 {
			l.do(t, overriding("dev", "search", "us", fmt.Sprint(i)), commands.CreateEnvironment{Key: fmt.Sprint("env-", i), ClientKey: fmt.Sprint("client-", i)})
		}
	}
	until(t, "the transaction", begun)
	left, err := os.ReadFile(l.path)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "views.db")
	if err := os.WriteFile(path, left, 0o600); err != nil {
		t.Fatal(err)
	}
	again := openViews(t, path, 1)
	if again.Position() != durable || again.Reached() != durable || l.Position() == durable {
		t.Fatalf("opened again at %d, the file had %d, seen were %d", again.Position(), durable, l.Position())
	}
	for _, rec := range l.log[durable:] {
		if err := again.Apply(rec, uint64(len(l.log))-rec.Position); err != nil {
			t.Fatal(err)
		}
	}
	for key := range l.shop().Environments.All() {
		was, is := l.snapshot(key), again.Snapshot(l.id(key))
		if is.Version != was.Version || is.Position != was.Position || !is.Modified.Equal(was.Modified) || !is.Updated.Equal(was.Updated) {
			t.Errorf("%s is version %d at %d of %v, and was seen as version %d at %d of %v", key, is.Version, is.Position, is.Modified, was.Version, was.Position, was.Modified)
		}
	}
	release()
	if got, want := dumpOf(t, again), dumpOf(t, l.Views); !maps.Equal(got, want) {
		t.Errorf("applied again: %v", differences(got, want))
	}
}

// While transactions fail the views go on, as far as there is room, and say so;
// the past is refused. When they succeed again nothing is missing.
func TestWritingFails(t *testing.T) {
	v := emptyViews(t)
	const full = 8191 // the last position of a part of the index
	log := shopLog(t, full+20)
	log[11].IdempotencyKey = "once"
	if err := v.Apply(log[0], 0); err != nil {
		t.Fatal(err)
	}
	if err := v.Written(); err != nil {
		t.Fatal(err)
	}
	var failing atomic.Bool
	failing.Store(true)
	failed, succeeding := make(chan struct{}, 1), make(chan struct{}, 100)
	v.BeforeWriting(func() error {
		if !failing.Load() {
			succeeding <- struct{}{}
			return nil
		}
		select {
		case failed <- struct{}{}:
		default:
		}
		return errors.New("no space left")
	})
	for _, rec := range log[1:20] {
		if err := v.Apply(rec, 0); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "a failure", failed)
	until(t, "another try", failed)
	if err := v.Failure(); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("the failure is %v", err)
	}
	if v.Position() != 20 || v.Durable() != 1 {
		t.Errorf("visible are %d, written %d", v.Position(), v.Durable())
	}
	_, err := v.AuditEntry(1, nil)
	if refusal, ok := errors.AsType[*domain.Error](err); !ok || refusal.Kind != domain.Unavailable {
		t.Errorf("a read of the past: %v", err)
	}
	if position, _, err := v.Answer(domain.ProjectID("shop"), "once"); err != nil || position != 12 {
		t.Errorf("a retry led to %d, %v", position, err)
	}
	applying(t, v, log[20:full])
	if err := v.Apply(log[full], 0); err == nil || v.Position() != full || v.Reached() != full {
		t.Errorf("without room: error %v at %d", err, v.Position())
	}
	failing.Store(false)
	until(t, "the next try, which comes by itself,", succeeding)
	for v.Failure() != nil { // as long as its transaction takes
		runtime.Gosched()
	}
	for _, rec := range log[v.Reached():] {
		if err := v.Apply(rec, 0); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := dumpOf(t, v), dumpOf(t, replay(t, t.TempDir(), log, func(i int) uint64 { return uint64(len(log) - 1 - i) })); !maps.Equal(got, want) {
		t.Errorf("in the end: %v", differences(got, want))
	}
}

// A commit that can be seen and not be written makes the views say so, and stays visible.
func TestCannotBeWritten(t *testing.T) {
	v := emptyViews(t)
	log := shopLog(t, 3)
	log[2] = record(t, 3, domain.SegmentCreated{ID: 9, Key: strings.Repeat("k", 40_000), Revision: 1})
	for _, rec := range log {
		if err := v.Apply(rec, 0); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		if err := v.Written(); err == nil || !strings.Contains(err.Error(), "key too large") {
			t.Errorf("written: %v", err)
		}
	}
	if v.Position() != 3 || v.Durable() == 3 || v.Failure() == nil {
		t.Errorf("visible are %d, written %d, the failure is %v", v.Position(), v.Durable(), v.Failure())
	}
}

// Views that are made again while a transaction is under way, and more waits:
// what could be seen can be seen all the time, and in the end the file has it.
func TestRebuildWhileWriting(t *testing.T) {
	l := variedLedger(t).closing(t)
	if err := l.Written(); err != nil {
		t.Fatal(err)
	}
	begun, release := holding(t, l.Views)
	l.do(t, setting("prod", "checkout", "under way"))
	until(t, "the transaction", begun)
	l.do(t, setting("prod", "checkout", "waits"))
	end, prod := l.Position(), l.id("prod")
	rebuilt := make(chan error)
	go func() { rebuilt <- l.Rebuild(errors.New("tested")) }()
	release()
	if err := <-rebuilt; err != nil {
		t.Fatal(err)
	}
	if l.Durable() != 0 || l.Reached() != 0 || !l.Building() {
		t.Fatalf("the new file is at %d, applying at %d", l.Durable(), l.Reached())
	}
	for i, rec := range l.log {
		if s := l.Snapshot(prod); l.Position() != end || s == nil || s.Position != end {
			t.Fatalf("before commit %d: visible are %d, %+v", rec.Position, l.Position(), s)
		}
		if err := l.Apply(rec, uint64(len(l.log)-1-i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Written(); err != nil || l.Position() != end || l.Building() || l.Failure() != nil {
		t.Errorf("made again: %v at %d, building %t, failure %v", err, l.Position(), l.Building(), l.Failure())
	}
	if got, want := dumpOf(t, l.Views), dumpOf(t, replayed(t, l.log)); !maps.Equal(got, want) {
		t.Errorf("made again: %v", differences(got, want))
	}
}

// Close writes what is visible.
func TestCloseWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "views.db")
	log := shopLog(t, 50)
	v := openViews(t, path, 1)
	for _, rec := range log {
		if err := v.Apply(rec, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := projections.Check(path, 1); err != nil || info.Position != 50 {
		t.Errorf("the file is at %d: %v", info.Position, err)
	}
}

// Whoever sees a position can read its past, from anywhere and at any time.
func TestReadWhatIsSeen(t *testing.T) {
	v := emptyViews(t)
	log := shopLog(t, 600)
	for i := range log {
		log[i].IdempotencyKey = fmt.Sprint("key-", i+1)
	}
	prod := projections.EnvironmentID{Project: domain.ProjectID("shop"), ID: 2}
	if err := v.Apply(log[0], 0); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var reading sync.WaitGroup
	for reader := range 8 {
		reading.Go(func() {
			for ctx.Err() == nil {
				seen := v.Snapshot(prod)
				var err error
				switch reader % 4 {
				case 0:
					_, err = v.Version(prod, seen.Version)
				case 1:
					_, err = v.AuditEntry(seen.Position, nil)
				case 2:
					var position uint64
					if position, _, err = v.Answer(prod.Project, fmt.Sprint("key-", seen.Position)); position != seen.Position {
						err = fmt.Errorf("the key of commit %d led to %d: %w", seen.Position, position, err)
					}
				case 3:
					var past *domain.Project
					if past, err = v.At(prod, seen.Position); err == nil && past.Environments.Get("prod").States.Get("f").Value != evaluation.Int(int64(seen.Position)) && seen.Position > 1 {
						err = fmt.Errorf("at %d f is %v", seen.Position, past.Environments.Get("prod").States.Get("f").Value)
					}
				}
				if err != nil {
					t.Errorf("as of %d: %v", seen.Position, err)
					return
				}
			}
		})
	}
	for i, rec := range log[1:] {
		if err := v.Apply(rec, uint64(i%3)); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.Written(); err != nil {
		t.Error(err)
	}
	cancel()
	reading.Wait()
}
