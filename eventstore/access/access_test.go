package access_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"flagledger/domain"
	"flagledger/eventstore/access"
	"flagledger/eventstore/storetest"
)

var noon = time.Date(2026, 5, 3, 12, 0, 0, 0, time.UTC)

// process is a store as one process has it.
type process struct {
	*access.Store
	stop func() // ends Run, with its last words, and closes the file
}

func open(t testing.TB, path string, o access.Options) *access.Store {
	t.Helper()
	if o.Now == nil {
		o.Now = func() time.Time { return noon }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	s, err := access.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func start(t testing.TB, js jetstream.JetStream, path string, o access.Options) *process {
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

func file(t testing.TB) string { return filepath.Join(t.TempDir(), "access.db") }

// retry calls do until it succeeds.
func retry(t testing.TB, do func() error) {
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

// settled waits until each store has written all, and read all there is.
func settled(t testing.TB, js jetstream.JetStream, all ...*process) {
	t.Helper()
	for _, p := range all {
		retry(t, func() error { return p.Flush(t.Context()) })
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	last := info(t, js).State.LastSeq
	for _, p := range all {
		if err := p.Wait(ctx, last); err != nil {
			t.Fatal(err)
		}
	}
}

func info(t testing.TB, js jetstream.JetStream) *jetstream.StreamInfo {
	t.Helper()
	stream, err := js.Stream(t.Context(), access.Stream)
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo()
}

// look is a record of noon and some minutes.
func look(minutes int, actor, project, environment string, objects ...string) access.Record {
	return access.Record{
		Time: noon.Add(time.Duration(minutes) * time.Minute), Actor: domain.Actor{Kind: "token", ID: actor, Name: "Name of " + actor, Token: actor},
		Client: domain.Client{IP: "192.0.2.1", UserAgent: "curl", RequestID: "r1"}, Route: "GET /somewhere", AsOf: "position:7",
		Project: project, Environment: environment, Objects: objects,
	}
}

// list tells the records that match in a short form.
func list(t testing.TB, s *access.Store, q access.Query) (short []string, next string) {
	t.Helper()
	if q.Limit == 0 {
		q.Limit = 100
	}
	found, next, err := s.List(q)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range found {
		short = append(short, fmt.Sprintf("%s %s %s %s", r.Time.Format("15:04"), r.Actor.ID, r.Project, strings.Join(r.Objects, ",")))
	}
	return short, next
}

func wantList(t testing.TB, s *access.Store, q access.Query, want ...string) {
	t.Helper()
	if got, _ := list(t, s, q); !slices.Equal(got, want) {
		t.Errorf("%+v: got %q, want %q", q, got, want)
	}
}

// Two processes on one stream, and one that begins with an empty file, know the
// same records, whole.
func TestProcessesAgree(t *testing.T) {
	js := storetest.New(t).JetStream()
	path := file(t)
	a, b := start(t, js, path, access.Options{}), start(t, js, file(t), access.Options{})
	first := look(-3, "ann", "shop", "production", "segment:beta", "identity:production/7f")
	a.Add(first)
	b.Add(look(-2, "bob", "shop", "", "segment:beta"))
	a.Add(look(-1, "ann", "blog", "", "segment:x"))
	settled(t, js, a, b)
	settled(t, js, a, b) // what b wrote after a was looked at
	a.Add(look(0, "ann", "shop", "", "segment:late"))
	a.stop() // with its last words
	c := start(t, js, file(t), access.Options{})
	settled(t, js, b, c)
	a = start(t, js, path, access.Options{})
	settled(t, js, a)
	for _, p := range []*process{a, b, c} {
		wantList(t, p.Store, access.Query{}, "12:00 ann shop segment:late", "11:59 ann blog segment:x", "11:58 bob shop segment:beta",
			"11:57 ann shop segment:beta,identity:production/7f")
		found, _, err := p.List(access.Query{To: noon.Add(-150 * time.Second), Limit: 1})
		if err != nil || len(found) != 1 {
			t.Fatalf("found %v, error %v", found, err)
		}
		got := found[0]
		if got.ID == "" {
			t.Error("no id")
		}
		got.ID = ""
		if fmt.Sprint(got) != fmt.Sprint(first) {
			t.Errorf("got %+v, want %+v", got, first)
		}
	}
}

func TestList(t *testing.T) {
	js := storetest.New(t).JetStream()
	p := start(t, js, file(t), access.Options{})
	for i := range 4 {
		p.Add(look(i-10, "ann", "shop", "", "segment:beta"))
		p.Add(look(i-10, "bob", "shop", "live", "segment:beta", "segment:gold"))
		p.Add(look(i-10, "bob", "blog", "", "segment:beta"))
	}
	p.Add(look(-8, "zoe", "bank", "", "segment:*", "identity:*/*")) // an export
	p.Add(look(-7, "zoe", "bank", "", "segment:beta", "segment:*"))
	p.Add(look(-6, "yan", "bank", "live", "segment:beta", "identity:live/7f"))
	settled(t, js, p)
	for _, tc := range []struct {
		name string
		q    access.Query
		want string // minutes and initials
	}{
		{"project", access.Query{Project: "blog"}, "53bb 52bb 51bb 50bb"},
		{"object", access.Query{Project: "shop", Object: "segment:gold"}, "53bs 52bs 51bs 50bs"},
		{"object, also where all were looked at", access.Query{Project: "bank", Object: "segment:beta"}, "54yb 53zb 52zb"},
		{"object that is nowhere by name", access.Query{Project: "bank", Object: "segment:gold"}, "53zb 52zb"},
		{"identity, also where all were looked at", access.Query{Project: "bank", Object: "identity:live/7f"}, "54yb 52zb"},
		{"any identity", access.Query{Project: "bank", Object: "identity:*/*"}, "54yb 52zb"},
		{"any identity of an environment", access.Query{Project: "bank", Object: "identity:live/*"}, "54yb 52zb"},
		{"any identity of another environment", access.Query{Project: "bank", Object: "identity:test/*"}, "52zb"},
		{"any segment", access.Query{Project: "bank", Object: "segment:*"}, "54yb 53zb 52zb"},
		{"any segment, of some by an actor", access.Query{Project: "shop", Object: "segment:*", Actor: "bob"}, "53bs 52bs 51bs 50bs"},
		{"actor", access.Query{Actor: "ann"}, "53as 52as 51as 50as"},
		{"actor and project", access.Query{Actor: "bob", Project: "shop"}, "53bs 52bs 51bs 50bs"},
		{"all three", access.Query{Actor: "ann", Project: "shop", Object: "segment:gold"}, ""},
		{"unknown", access.Query{Project: "sho"}, ""},
		{"from, included, to, not", access.Query{Actor: "ann", From: noon.Add(-9 * time.Minute), To: noon.Add(-7 * time.Minute)}, "52as 51as"},
		{"from only", access.Query{From: noon.Add(-7 * time.Minute), Project: "blog"}, "53bb"},
		{"visible", access.Query{From: noon.Add(-7 * time.Minute), Visible: func(project, environment string) bool { return project == "shop" && environment == "live" }}, "53bs"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, limit := range []int{1, 3, 4, 100} {
				var got []string
				tc.q.Limit, tc.q.Before = limit, ""
				for {
					found, next, err := p.List(tc.q)
					if err != nil || len(found) > limit {
						t.Fatalf("%d found, error %v", len(found), err)
					}
					for _, r := range found {
						got = append(got, r.Time.Format("04")+r.Actor.ID[:1]+r.Project[:1])
					}
					if next == "" {
						break
					}
					tc.q.Before = next
				}
				if strings.Join(got, " ") != tc.want {
					t.Errorf("by %d: got %q, want %q", limit, got, tc.want)
				}
			}
		})
	}
	if _, _, err := p.List(access.Query{Before: "then"}); err == nil {
		t.Error("a wrong id is taken")
	}
}

// A look at a great deal becomes several records, none of which is too large to write.
func TestManyObjects(t *testing.T) {
	js := storetest.New(t).JetStream()
	p := start(t, js, file(t), access.Options{})
	var objects []string
	for i := range 5200 {
		objects = append(objects, fmt.Sprintf("segment:%s%d", strings.Repeat("a", 150), i))
	}
	p.Add(look(-1, "ann", "shop", "", objects...))
	p.Add(look(-1, "ann", "shop", "")) // at nothing
	settled(t, js, p)
	found, _, err := p.List(access.Query{Project: "shop", Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range found {
		got = append(got, r.Objects...)
	}
	slices.Sort(got)
	slices.Sort(objects)
	if len(found) != 11 || !slices.Equal(got, objects) {
		t.Errorf("%d records of %d objects", len(found), len(got))
	}
}

// The page of a rare thing among many comes in parts, so that none takes long.
func TestScanIsBounded(t *testing.T) {
	js := storetest.New(t).JetStream()
	p := start(t, js, file(t), access.Options{})
	p.Add(look(-10, "ann", "blog", "", "segment:x"))
	for range 6000 {
		p.Add(look(-5, "ann", "shop", "", "segment:x"))
	}
	settled(t, js, p)
	q := access.Query{Actor: "ann", Project: "blog"}
	short, next := list(t, p.Store, q)
	if len(short) != 0 || next == "" {
		t.Fatalf("found %v, next %q", short, next)
	}
	q.Before = next
	short, next = list(t, p.Store, q)
	if len(short) != 1 || next != "" {
		t.Errorf("found %v, next %q", short, next)
	}
}

// Records end with their retention: in answers at once, in the file with the
// next records, in the stream by themselves.
func TestRetention(t *testing.T) {
	js := storetest.New(t).JetStream()
	var mu sync.Mutex
	now := noon
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	path := file(t)
	p := start(t, js, path, access.Options{Now: clock, Retention: time.Hour})
	p.Add(look(-30, "ann", "shop", "", "segment:x"))
	p.Add(look(-20, "ann", "shop", "", "segment:y"))
	settled(t, js, p)
	mu.Lock()
	now = noon.Add(35 * time.Minute)
	mu.Unlock()
	wantList(t, p.Store, access.Query{}, "11:40 ann shop segment:y")
	p.Add(look(35, "ann", "shop", "", "segment:z"))
	settled(t, js, p)
	mu.Lock()
	now = noon
	mu.Unlock()
	wantList(t, p.Store, access.Query{Project: "shop"}, "12:35 ann shop segment:z", "11:40 ann shop segment:y")
	wantList(t, p.Store, access.Query{Project: "shop", Object: "segment:x"})

	if config := info(t, js).Config; config.MaxAge != time.Hour || !config.DenyDelete || !config.DenyPurge {
		t.Errorf("stream: %+v", config)
	}
	p.stop()
	settled(t, js, start(t, js, path, access.Options{}))
	for late := time.After(time.Minute); ; { // the stream is there already, and updated beside the reading
		got := info(t, js).Config.MaxAge
		if got == access.DefaultRetention {
			return
		}
		select {
		case <-late:
			t.Fatalf("the stream keeps for %s after a start with another retention", got)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// While NATS is away records wait, up to a limit; what is beyond is counted and
// stands in the process's log.
func TestNATSAway(t *testing.T) {
	js := storetest.New(t).JetStream()
	var log bytes.Buffer
	path := file(t)
	s := open(t, path, access.Options{MaxQueue: 3, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	s.Add(look(-4, "ann", "shop", "", "segment:a", "segment:b"))
	s.Add(look(-3, "ann", "shop", "live", "segment:c", "segment:d"))
	s.Add(look(-2, "ann", "shop", "", "segment:e"))
	if err := s.Flush(t.Context()); err == nil {
		t.Error("written without a stream")
	}
	if got := s.Stats(); got.Waiting != 2 || got.Lost != 1 {
		t.Errorf("stats: %+v", got)
	}
	for _, want := range []string{"level=ERROR", "actor=ann", `name="Name of ann"`, "ip=192.0.2.1", `route="GET /somewhere"`, "project=shop", "environment=live", "as_of=position:7", `objects="[segment:c segment:d]"`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %s: %s", want, &log)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { s.Run(ctx, js, 1) })
	retry(t, func() error { return s.Flush(t.Context()) })
	cancel()
	running.Wait()
	s.Add(look(-1, "ann", "shop", "", "segment:f")) // too late for the last words
	log.Reset()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := s.Stats(); got.Waiting != 0 || got.Lost != 2 || got.Written != 2 || !strings.Contains(log.String(), "segment:f") {
		t.Errorf("stats %+v, log %s", got, &log)
	}
	p := start(t, js, path, access.Options{})
	settled(t, js, p)
	wantList(t, p.Store, access.Query{}, "11:58 ann shop segment:e", "11:56 ann shop segment:a,segment:b")
}

// A message that came twice is there once, one that is none of ours is passed over.
func TestOddMessages(t *testing.T) {
	js := storetest.New(t).JetStream()
	p := start(t, js, file(t), access.Options{})
	p.Add(look(-1, "ann", "shop", "", "segment:a"))
	settled(t, js, p)
	stream, err := js.Stream(t.Context(), access.Stream)
	if err != nil {
		t.Fatal(err)
	}
	msg, err := stream.GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, payload := range [][]byte{msg.Data, []byte("{"), []byte(`[{"id":"1"}]`), []byte(`[null]`)} {
		if _, err := js.Publish(t.Context(), msg.Subject, payload); err != nil {
			t.Fatal(err)
		}
	}
	settled(t, js, p)
	wantList(t, p.Store, access.Query{}, "11:59 ann shop segment:a")
	if got := p.Stats(); got.Unreadable != 3 {
		t.Errorf("stats: %+v", got)
	}
	if err := stream.DeleteMsg(t.Context(), 1); err == nil {
		t.Error("a record can be deleted")
	}
}

// A file that cannot be used, or of another layout, is put aside and made again.
func TestDamagedFile(t *testing.T) {
	js := storetest.New(t).JetStream()
	path := file(t)
	p := start(t, js, path, access.Options{})
	p.Add(look(-1, "ann", "shop", "", "segment:a"))
	settled(t, js, p)
	p.stop()
	if err := os.WriteFile(path, bytes.Repeat([]byte("damage"), 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	p = start(t, js, path, access.Options{})
	settled(t, js, p)
	wantList(t, p.Store, access.Query{}, "11:59 ann shop segment:a")
	if _, err := os.Stat(path + ".damaged"); err != nil {
		t.Error(err)
	}
}

// A file that is damaged while it is in use is noticed, and made again, without a restart.
func TestDamagedInUse(t *testing.T) {
	js := storetest.New(t).JetStream()
	path := file(t)
	p := start(t, js, path, access.Options{})
	p.Add(look(-1, "ann", "shop", "", "segment:a"))
	settled(t, js, p)
	damaged, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	info, err := damaged.Stat()
	if err != nil {
		t.Fatal(err)
	}
	_, err = damaged.WriteAt(make([]byte, info.Size()-8192), 8192)
	if err := errors.Join(err, damaged.Close()); err != nil {
		t.Fatal(err)
	}
	_, _, err = p.List(access.Query{Limit: 50})
	if refusal, ok := errors.AsType[*domain.Error](err); !ok || refusal.Kind != domain.Unavailable {
		t.Errorf("meanwhile: %v", err)
	}
	p.Add(look(-2, "bob", "shop", "", "segment:a"))
	retry(t, func() error {
		found, _, err := p.List(access.Query{Limit: 50})
		if err == nil && len(found) != 2 {
			err = fmt.Errorf("%d records", len(found))
		}
		return err
	})
	wantList(t, p.Store, access.Query{}, "11:59 ann shop segment:a", "11:58 bob shop segment:a")
	if _, err := os.Stat(path + ".damaged"); err != nil {
		t.Error(err)
	}
}

// Many looks at once are all recorded, each once, in few messages.
func TestManyAtOnce(t *testing.T) {
	js := storetest.New(t).JetStream()
	p := start(t, js, file(t), access.Options{})
	var adding sync.WaitGroup
	for a := range 8 {
		adding.Go(func() {
			for range 250 {
				p.Add(look(-1, fmt.Sprint("actor", a), "shop", "", "segment:a"))
			}
		})
	}
	adding.Wait()
	settled(t, js, p)
	seen, q := map[string]bool{}, access.Query{Project: "shop", Limit: 500}
	for {
		found, next, err := p.List(q)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range found {
			seen[r.ID] = true
		}
		if next == "" {
			break
		}
		q.Before = next
	}
	if st := p.Stats(); len(seen) != 2000 || st.Written != 2000 || st.Lost+st.Failures > 0 {
		t.Errorf("%d records, %+v", len(seen), st)
	}
	t.Logf("2000 records in %d messages", info(t, js).State.Msgs)
}

// The time that a look costs who looks.
func BenchmarkAdd(b *testing.B) {
	js := storetest.New(b).JetStream()
	p := start(b, js, file(b), access.Options{MaxQueue: 1 << 30})
	r := look(-1, "ann", "shop", "", "segment:a")
	b.ReportAllocs()
	for b.Loop() {
		p.Add(r)
	}
	b.StopTimer()
	if p.Stats().Lost > 0 {
		b.Fatal("lost")
	}
	retry(b, func() error { return p.Flush(b.Context()) })
}

// A page of 50 of 100,000 records, by each of the filters.
func BenchmarkList(b *testing.B) {
	js := storetest.New(b).JetStream()
	p := start(b, js, file(b), access.Options{MaxQueue: 1 << 30})
	for i := range 100_000 {
		p.Add(look(i-100_000, fmt.Sprint("actor", i%100), fmt.Sprint("project", i%10), "", fmt.Sprint("segment:s", i%1000)))
	}
	settled(b, js, p)
	for _, bc := range []struct {
		name string
		q    access.Query
	}{
		{"all", access.Query{}},
		{"project", access.Query{Project: "project7"}},
		{"object", access.Query{Project: "project7", Object: "segment:s7"}},
		{"actor", access.Query{Actor: "actor7"}},
		{"nothing", access.Query{Actor: "actor7", Project: "project8"}},
		{"oldest", access.Query{Project: "project7", To: noon.Add(-99_900 * time.Minute)}},
	} {
		b.Run(bc.name, func(b *testing.B) {
			bc.q.Limit = 50
			for b.Loop() {
				if _, _, err := p.List(bc.q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
