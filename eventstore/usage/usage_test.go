package usage_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"flagledger/eventstore"
	"flagledger/eventstore/storetest"
	"flagledger/eventstore/usage"
)

const shop = "6f1c4b1e-6e0a-5d7f-9d5c-0a7a5b1d2c3e"

var noon = time.Date(2026, 5, 3, 12, 0, 0, 0, time.UTC)

// clock is a time that a test sets.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// process is a store as one process has it, which writes only when told to.
type process struct {
	*usage.Store
	stop func() // ends Run, with its last words, and closes the file
}

func open(t *testing.T, path string, o usage.Options) *usage.Store {
	t.Helper()
	o.Interval = time.Hour
	o.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	s, err := usage.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func start(t *testing.T, js jetstream.JetStream, path string, o usage.Options) *process {
	t.Helper()
	p := &process{Store: open(t, path, o)}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { p.Run(ctx, js, 1) })
	p.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(p.stop)
	return p
}

func file(t *testing.T) string { return filepath.Join(t.TempDir(), "usage.db") }

// flush writes what is counted; at first the stream may not be reached yet.
func flush(t *testing.T, s *usage.Store) {
	t.Helper()
	retry(t, func() error { return s.Flush(t.Context()) })
}

// retry calls do until it succeeds.
func retry(t *testing.T, do func() error) {
	t.Helper()
	every := time.NewTicker(5 * time.Millisecond)
	defer every.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		err := do()
		if err == nil {
			return
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			t.Fatal(err)
		}
	}
}

// caughtUp waits until each store has all that is in the stream.
func caughtUp(t *testing.T, js jetstream.JetStream, stores ...*usage.Store) {
	t.Helper()
	stream, err := js.Stream(t.Context(), usage.Stream)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, s := range stores {
		if err := s.Wait(ctx, stream.CachedInfo().State.LastSeq); err != nil {
			t.Fatal(err)
		}
	}
}

func key(feature string, source usage.Source, outcome, variant string) usage.Key {
	return usage.Key{Project: shop, Environment: 2, Feature: feature, Source: source, Outcome: outcome, Variant: variant}
}

// counts tells the counts of a feature in a short form.
func counts(t *testing.T, s *usage.Store, feature string) []string {
	t.Helper()
	found, err := s.Counts(shop, 2, feature, noon.Add(-500*24*time.Hour), noon.Add(500*24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	short := make([]string, len(found))
	for i, c := range found {
		short[i] = fmt.Sprintf("%s %s %s %s %d", c.Hour.Format("15:04"), c.Source, c.Outcome, c.Variant, c.N)
	}
	return short
}

func wantCounts(t *testing.T, s *usage.Store, feature string, want ...string) {
	t.Helper()
	if got := counts(t, s, feature); !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", feature, got, want)
	}
}

// Two processes on one stream come to the same sums, hour by hour.
func TestProcessesAgree(t *testing.T) {
	js := storetest.New(t).JetStream()
	c := &clock{now: noon}
	var collected uint64 = 7
	a := start(t, js, file(t), usage.Options{Now: c.Now, Collect: func(add func(usage.Key, uint64)) {
		if collected > 0 {
			add(key("search", usage.Server, "segment:beta", "grid"), collected)
			collected = 0
		}
	}})
	b := start(t, js, file(t), usage.Options{Now: c.Now})
	a.Add(key("search", usage.SDK, "", ""), 5)
	a.Add(key("search", usage.SDK, "", ""), 1)
	b.Add(key("search", usage.SDK, "", ""), 10)
	b.Add(key("search", usage.Server, "identity", ""), 2)
	b.Add(key("searching", usage.SDK, "", ""), 99) // another feature whose key begins alike
	elsewhere := key("search", usage.SDK, "", "")
	elsewhere.Environment = 3
	b.Add(elsewhere, 50)
	flush(t, a.Store)
	flush(t, b.Store)
	c.forward(40 * time.Minute)
	a.Add(key("search", usage.SDK, "", ""), 100)
	flush(t, a.Store)
	flush(t, a.Store) // nothing is new
	c.forward(40 * time.Minute)
	a.Add(key("search", usage.SDK, "", ""), 3)
	flush(t, a.Store)
	caughtUp(t, js, a.Store, b.Store)
	for _, s := range []*usage.Store{a.Store, b.Store} {
		wantCounts(t, s, "search",
			"12:00 sdk   116", "12:00 server identity  2", "12:00 server segment:beta grid 7", "13:00 sdk   3")
		wantCounts(t, s, "searching", "12:00 sdk   99")
		wantCounts(t, s, "unheard", nil...)
	}
	if got := a.Stats(); got.Batches != 3 || got.Pending+int(got.Dropped+got.Failures+got.Unreadable) != 0 {
		t.Errorf("stats of a: %+v", got)
	}
	want := map[usage.Total]uint64{
		{Project: shop, Environment: 2, Source: usage.SDK}:                     109,
		{Project: shop, Environment: 2, Source: usage.Server, Kind: "segment"}: 7,
	}
	if got := a.Totals(); !reflect.DeepEqual(got, want) {
		t.Errorf("totals of a: got %v, want %v", got, want)
	}
	// One message for each process and hour is all that is left to read.
	stream, err := js.Stream(t.Context(), usage.Stream)
	if err != nil {
		t.Fatal(err)
	}
	if got := stream.CachedInfo().State.Msgs; got != 3 {
		t.Errorf("%d messages are kept, want 3", got)
	}
}

// Between from and to lie the hours that begin at from or later, and before to.
func TestCountsBetween(t *testing.T) {
	js := storetest.New(t).JetStream()
	c := &clock{now: noon}
	s := start(t, js, file(t), usage.Options{Now: c.Now})
	for range 4 { // 12:00, 13:00, ...
		s.Add(key("search", usage.SDK, "", ""), 1)
		c.forward(time.Hour)
	}
	flush(t, s.Store)
	caughtUp(t, js, s.Store)
	for _, test := range []struct {
		from, to time.Duration // after noon
		want     []int         // hours
	}{
		{0, 4 * time.Hour, []int{12, 13, 14, 15}},
		{time.Hour, 3 * time.Hour, []int{13, 14}},
		{time.Second, 2*time.Hour + time.Second, []int{13, 14}},
		{0, time.Second, []int{12}},
		{0, 0, nil},
		{4 * time.Hour, 0, nil},
		{-1e6 * time.Hour, 0, nil},
		{-1e6 * time.Hour, 1e4 * time.Hour, []int{12, 13, 14, 15}},
	} {
		found, err := s.Counts(shop, 2, "search", noon.Add(test.from), noon.Add(test.to))
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		for _, c := range found {
			got = append(got, c.Hour.Hour())
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("from %v to %v: got hours %v, want %v", test.from, test.to, got, test.want)
		}
	}
}

// A process that ends writes what it has; one that starts goes on where its
// file is, and one without a file reads everything.
func TestRestart(t *testing.T) {
	js := storetest.New(t).JetStream()
	c := &clock{now: noon}
	path := file(t)
	a := start(t, js, path, usage.Options{Now: c.Now})
	a.Add(key("search", usage.SDK, "", ""), 5)
	flush(t, a.Store)
	caughtUp(t, js, a.Store)
	a.Add(key("search", usage.SDK, "", ""), 2)
	a.stop()

	b := start(t, js, file(t), usage.Options{Now: c.Now})
	b.Add(key("search", usage.SDK, "", ""), 10)
	flush(t, b.Store)

	again := start(t, js, path, usage.Options{Now: c.Now})
	if again.Position() == 0 {
		t.Error("the position is lost")
	}
	again.Add(key("search", usage.SDK, "", ""), 100)
	flush(t, again.Store)
	empty := start(t, js, file(t), usage.Options{Now: c.Now})
	caughtUp(t, js, b.Store, again.Store, empty.Store)
	for _, s := range []*process{b, again, empty} {
		wantCounts(t, s.Store, "search", "12:00 sdk   117")
	}
}

// remote opens a store of the log on a server that listens.
func remote(t *testing.T, url string) *eventstore.Store {
	t.Helper()
	store, err := eventstore.Open(t.Context(), eventstore.Options{URL: url, Replicas: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() }) // some tests have closed it
	return store
}

// A process that dies loses what it counted since it wrote last, and nothing else.
func TestCrash(t *testing.T) {
	server := storetest.StartCluster(t, 1)
	c := &clock{now: noon}
	connection := remote(t, server.URL())
	dying := start(t, connection.JetStream(), file(t), usage.Options{Now: c.Now})
	dying.Add(key("search", usage.SDK, "", ""), 5)
	flush(t, dying.Store)
	dying.Add(key("search", usage.SDK, "", ""), 20)
	flush(t, dying.Store)
	dying.Add(key("search", usage.SDK, "", ""), 300) // the batch that is lost
	if err := connection.Close(); err != nil {
		t.Fatal(err)
	}
	dying.stop()
	if got := dying.Stats(); got.Pending != 1 || got.Failures != 1 {
		t.Errorf("stats of the dead: %+v, want 1 pending after 1 failure", got)
	}

	js := remote(t, server.URL()).JetStream()
	next := start(t, js, file(t), usage.Options{Now: c.Now})
	next.Add(key("search", usage.SDK, "", ""), 1000)
	flush(t, next.Store)
	caughtUp(t, js, next.Store)
	wantCounts(t, next.Store, "search", "12:00 sdk   1025")
}

// An answer that gets lost is no reason to count twice.
func TestLostAnswer(t *testing.T) {
	t.Parallel() // it waits for a request that nobody will answer
	server := storetest.StartCluster(t, 1)
	c := &clock{now: noon}
	proxy := storetest.StartProxy(t, strings.TrimPrefix(server.URL(), "nats://"))
	far := remote(t, proxy.URL())
	a := start(t, far.JetStream(), file(t), usage.Options{Now: c.Now})
	a.Add(key("search", usage.SDK, "", ""), 5)
	flush(t, a.Store)
	js := remote(t, server.URL()).JetStream()
	stream, err := js.Stream(t.Context(), usage.Stream)
	if err != nil {
		t.Fatal(err)
	}

	proxy.Mute()
	a.Add(key("search", usage.SDK, "", ""), 2)
	ctx, cancel := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	writing.Go(func() { err = a.Flush(ctx) })
	retry(t, func() error {
		if info, err := stream.Info(t.Context()); err != nil || info.State.LastSeq < 2 {
			return fmt.Errorf("the message has not arrived: %w", err)
		}
		return nil
	})
	cancel() // nobody waits for the answer any longer
	writing.Wait()
	if err == nil {
		t.Fatal("flush without an answer: no error")
	}
	proxy.Cut()
	flush(t, a.Store)
	if info, err := stream.Info(t.Context()); err != nil || info.State.LastSeq != 3 {
		t.Errorf("last message %+v, error %v, want it written again", info.State, err)
	}
	b := start(t, js, file(t), usage.Options{Now: c.Now})
	caughtUp(t, js, b.Store)
	wantCounts(t, b.Store, "search", "12:00 sdk   7")
}

// While NATS is away, counting goes on; each count stays in its hour.
func TestNATSAway(t *testing.T) {
	t.Parallel() // it waits for a request that nobody will answer
	server := storetest.StartCluster(t, 1)
	c := &clock{now: noon}
	js := remote(t, server.URL()).JetStream()
	a := start(t, js, file(t), usage.Options{Now: c.Now})
	a.Add(key("search", usage.SDK, "", ""), 1)
	flush(t, a.Store)
	server.Stop(0)
	for n := uint64(2); n < 5; n++ {
		a.Add(key("search", usage.SDK, "", ""), n)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := a.Flush(ctx); err == nil {
			t.Error("flush without NATS: no error")
		}
		cancel()
		c.forward(time.Hour)
	}
	if got := a.Stats().Pending; got != 3 {
		t.Errorf("%d counts are pending, want 3", got)
	}
	server.Start(0)
	flush(t, a.Store)
	var last uint64
	retry(t, func() error {
		stream, err := js.Stream(t.Context(), usage.Stream)
		if err == nil {
			last = stream.CachedInfo().State.LastSeq
		}
		return err
	})
	if err := a.Wait(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	wantCounts(t, a.Store, "search", "12:00 sdk   3", "13:00 sdk   3", "14:00 sdk   4")
}

// Before the stream is reached, and with too much in memory.
func TestBounded(t *testing.T) {
	c := &clock{now: noon}
	s := open(t, file(t), usage.Options{Now: c.Now, MaxRows: 3})
	for i := range 5 {
		s.Add(key(fmt.Sprint("feature", i), usage.SDK, "", ""), 10)
	}
	s.Add(key("feature0", usage.SDK, "", ""), 1) // known: still counted
	if got := s.Stats(); got.Dropped != 20 || got.Pending != 3 {
		t.Errorf("stats %+v, want 20 dropped and 3 pending", got)
	}
	if err := s.Flush(t.Context()); err == nil {
		t.Error("flush without a stream: no error")
	}
	js := storetest.New(t).JetStream()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { s.Run(ctx, js, 1) })
	flush(t, s)
	caughtUp(t, js, s)
	wantCounts(t, s, "feature0", "12:00 sdk   11")
	c.forward(time.Hour)
	flush(t, s) // the past hour is forgotten: there is room again
	s.Add(key("feature4", usage.SDK, "", ""), 4)
	flush(t, s)
	caughtUp(t, js, s)
	wantCounts(t, s, "feature4", "13:00 sdk   4")
	cancel()
	running.Wait()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// Many counts are written in several parts, only those again that have changed.
func TestParts(t *testing.T) {
	js := storetest.New(t).JetStream()
	c := &clock{now: noon}
	s := start(t, js, file(t), usage.Options{Now: c.Now})
	long := strings.Repeat("x", 140)
	for i := range 2500 {
		s.Add(key(fmt.Sprint(long, i), usage.Server, "segment:"+long, long), 1)
	}
	flush(t, s.Store)
	s.Add(key(long+"2400", usage.Server, "segment:"+long, long), 1)
	flush(t, s.Store)
	if got := s.Stats().Batches; got != 4 {
		t.Errorf("%d messages, want 3 and 1", got)
	}
	caughtUp(t, js, s.Store)
	wantCounts(t, s.Store, long+"0", "12:00 server segment:"+long+" "+long+" 1")
	wantCounts(t, s.Store, long+"2400", "12:00 server segment:"+long+" "+long+" 2")
}

// What is older than the retention is forgotten.
func TestRetention(t *testing.T) {
	js := storetest.New(t).JetStream()
	c := &clock{now: noon}
	s := start(t, js, file(t), usage.Options{Now: c.Now})
	s.Add(key("search", usage.SDK, "", ""), 1)
	flush(t, s.Store)
	c.forward(time.Hour)
	s.Add(key("search", usage.SDK, "", ""), 2)
	flush(t, s.Store)
	caughtUp(t, js, s.Store)
	wantCounts(t, s.Store, "search", "12:00 sdk   1", "13:00 sdk   2")
	c.forward(usage.Retention)
	s.Add(key("other", usage.SDK, "", ""), 1)
	flush(t, s.Store)
	caughtUp(t, js, s.Store)
	wantCounts(t, s.Store, "search", "13:00 sdk   2")
	late := start(t, js, file(t), usage.Options{Now: c.Now})
	caughtUp(t, js, late.Store)
	wantCounts(t, late.Store, "search", "13:00 sdk   2")
}

// The stream may be deleted. Those who have read it keep the counts.
func TestStreamMadeAgain(t *testing.T) {
	js := storetest.New(t).JetStream()
	c := &clock{now: noon}
	path := file(t)
	a := start(t, js, path, usage.Options{Now: c.Now})
	for range 3 {
		a.Add(key("search", usage.SDK, "", ""), 5)
		flush(t, a.Store)
	}
	caughtUp(t, js, a.Store)
	a.stop()
	if err := js.DeleteStream(t.Context(), usage.Stream); err != nil {
		t.Fatal(err)
	}
	b := start(t, js, path, usage.Options{Now: c.Now})
	b.Add(key("search", usage.SDK, "", ""), 1)
	flush(t, b.Store)
	retry(t, func() error { // position 1 was known before, of the other stream
		if got := counts(t, b.Store, "search"); !slices.Equal(got, []string{"12:00 sdk   16"}) {
			return fmt.Errorf("got %q", got)
		}
		return nil
	})
}

// A file that cannot be used is put aside, and made again from the stream.
func TestDamagedFile(t *testing.T) {
	js := storetest.New(t).JetStream()
	c := &clock{now: noon}
	path := file(t)
	a := start(t, js, path, usage.Options{Now: c.Now})
	a.Add(key("search", usage.SDK, "", ""), 5)
	flush(t, a.Store)
	a.stop()
	if err := os.WriteFile(path, []byte("not a database at all"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := start(t, js, path, usage.Options{Now: c.Now})
	retry(t, func() error {
		if b.Position() == 0 {
			return errors.New("nothing was read")
		}
		return nil
	})
	wantCounts(t, b.Store, "search", "12:00 sdk   5")
	if _, err := os.Stat(path + ".damaged"); err != nil {
		t.Error(err)
	}
	if _, err := usage.Open(filepath.Join(path, "nowhere"), usage.Options{}); err == nil {
		t.Error("open below a file: no error")
	}
}

// A message that nobody can read does not hold up the others.
func TestUnreadable(t *testing.T) {
	js := storetest.New(t).JetStream()
	c := &clock{now: noon}
	s := start(t, js, file(t), usage.Options{Now: c.Now})
	flush(t, s.Store) // the stream is there
	for _, test := range []struct{ subject, payload string }{
		{"flagledger.usage.nobody.1", `{}`},
		{"flagledger.usage." + shop + ".-1", `{}`},
		{"flagledger.usage." + shop + ".1", `[]`},
		{"flagledger.usage." + shop + ".2", `{"hour":"2026-05-03T12:00:00Z","counts":[null]}`},
		{"flagledger.usage." + shop + ".3", `{"hour":"2026-05-03T12:00:00Z","counts":[{"feature":"a\u0000b","count":1}]}`},
		{"flagledger.usage." + shop + ".4", `{"hour":"2026-05-03T12:00:00Z","counts":[{"feature":"a","count":-1}]}`},
	} {
		if _, err := js.Publish(t.Context(), test.subject, []byte(test.payload)); err != nil {
			t.Fatal(err)
		}
	}
	s.Add(key("search", usage.SDK, "", ""), 5)
	flush(t, s.Store)
	caughtUp(t, js, s.Store)
	wantCounts(t, s.Store, "search", "12:00 sdk   5")
	if got := s.Stats().Unreadable; got != 6 {
		t.Errorf("%d unreadable, want 6", got)
	}
}

// The form of a message is for ever: other processes of other versions read it.
func TestMessageForm(t *testing.T) {
	js := storetest.New(t).JetStream()
	c := &clock{now: noon.Add(59 * time.Minute)}
	s := start(t, js, file(t), usage.Options{Now: c.Now})
	s.Add(key("search", usage.Server, "segment:beta", "grid"), 5)
	s.Add(key("search", usage.SDK, "", ""), 6)
	flush(t, s.Store)
	stream, err := js.Stream(t.Context(), usage.Stream)
	if err != nil {
		t.Fatal(err)
	}
	msg, err := stream.GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"hour":"2026-05-03T12:00:00Z","counts":[` +
		`{"project":"` + shop + `","environment":2,"feature":"search","source":"server","outcome":"segment:beta","variant":"grid","count":5},` +
		`{"project":"` + shop + `","environment":2,"feature":"search","source":"sdk","count":6}]}`
	if string(msg.Data) != want {
		t.Errorf("message %s, want %s", msg.Data, want)
	}
	if !strings.HasPrefix(msg.Subject, "flagledger.usage.") || !strings.HasSuffix(msg.Subject, ".1") {
		t.Errorf("subject %s", msg.Subject)
	}
}
