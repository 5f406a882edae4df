package identities_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"flagledger/domain/evaluation"
	"flagledger/eventstore/identities"
)

var production = identities.EnvironmentToken("6f1d8f6c-6f3b-5a5e-9d43-0b8d3f7f2c11", 3)

// natsServer is an embedded server as Flagledger runs it.
func natsServer(t testing.TB, dir string, change ...func(*server.Options)) *server.Server {
	t.Helper()
	options := &server.Options{
		ServerName: "test", DontListen: true, NoSigs: true, MaxPayload: 8 << 20,
		JetStream: true, StoreDir: filepath.Join(dir, "nats"), SyncAlways: true, DisableJetStreamBanner: true,
	}
	for _, c := range change {
		c(options)
	}
	s, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(time.Minute) || !s.JetStreamEnabled() {
		t.Fatal("NATS does not start")
	}
	t.Cleanup(func() { stop(s) })
	return s
}

func stop(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

// quietly keeps the client from printing that the server is gone.
func quietly(*nats.Conn, *nats.Subscription, error) {}

func connect(t testing.TB, s *server.Server) jetstream.JetStream {
	t.Helper()
	conn, err := nats.Connect("", nats.InProcessServer(s), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond), nats.ReconnectJitter(0, 0), nats.ErrorHandler(quietly))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func open(t testing.TB, js jetstream.JetStream, o identities.Options) *identities.Store {
	t.Helper()
	o.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, err := identities.Open(t.Context(), js, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore(t, s) })
	return s
}

func closeStore(t testing.TB, s *identities.Store) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Log(err)
	}
}

func flush(t testing.TB, s *identities.Store) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Flush(ctx); err != nil {
		t.Error(err)
	}
}

// traits makes a list of traits from keys and values.
func traits(pairs ...any) []identities.Trait {
	var list []identities.Trait
	for pair := range slices.Chunk(pairs, 2) {
		v, err := evaluation.ParseValue(pair[1])
		if err != nil {
			panic(err)
		}
		list = append(list, identities.Trait{Key: pair[0].(string), Value: v})
	}
	return list
}

func show(id *identities.Identity) string {
	if id == nil {
		return "nobody"
	}
	words := []string{id.Identifier}
	for _, t := range id.Traits {
		words = append(words, fmt.Sprintf("%s=%s", t.Key, t.Value.AppendJSON(nil)))
	}
	return strings.Join(words, " ")
}

// eventually waits for what another process will see.
func eventually(t testing.TB, want string, got func() string) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		last := got()
		if last == want {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("got %s, want %s", last, want)
		}
	}
}

func TestIdentify(t *testing.T) {
	for name, test := range map[string]struct {
		before  []identities.Trait
		changes []identities.Trait
		want    string
		saved   uint64 // records stored for the change
		refused uint64
	}{
		"all kinds of values": {
			changes: traits("t", true, "f", false, "i", -3, "d", 1.5, "s", "x", "empty", "", "big", int64(-1<<63)),
			want:    `ada big=-9223372036854775808 d=1.5 empty="" f=false i=-3 s="x" t=true`, saved: 1,
		},
		"nothing makes a person":      {want: "ada", saved: 1},
		"nothing writes nothing":      {before: traits("a", 1), want: "ada a=1"},
		"the same writes nothing":     {before: traits("a", 1, "b", "x"), changes: traits("b", "x", "a", 1), want: `ada a=1 b="x"`},
		"one more":                    {before: traits("b", 1), changes: traits("a", 2, "c", 3), want: "ada a=2 b=1 c=3", saved: 1},
		"another value":               {before: traits("a", 1, "b", 2), changes: traits("a", 9), want: "ada a=9 b=2", saved: 1},
		"another kind":                {before: traits("a", 1), changes: traits("a", 1.0), want: "ada a=1.0", saved: 1},
		"null deletes":                {before: traits("a", 1, "b", 2), changes: traits("a", nil), want: "ada b=2", saved: 1},
		"null for nothing":            {before: traits("a", 1), changes: traits("z", nil), want: "ada a=1"},
		"delete the last":             {before: traits("a", 1), changes: traits("a", nil), want: "ada", saved: 1},
		"the last of two counts":      {before: traits("a", 1), changes: traits("a", 2, "a", 3), want: "ada a=3", saved: 1},
		"there and back again":        {before: traits("a", 1), changes: traits("a", 2, "a", 1), want: "ada a=1"},
		"the limit":                   {before: traits("a", 1, "b", 2), changes: traits("c", 3, "d", 4, "e", 5, "f", 6, "g", 7, "h", 8), want: "ada a=1 b=2 c=3 d=4 e=5 f=6 g=7", saved: 1, refused: 1},
		"the limit, after a deletion": {before: traits("a", 1, "b", 2), changes: traits("c", 3, "d", 4, "e", 5, "f", 6, "g", 7, "a", nil, "h", 8), want: "ada b=2 c=3 d=4 e=5 f=6 g=7 h=8", saved: 1},
		"too large a person":          {before: traits("a", 1), changes: traits("a", strings.Repeat("x", 600_000)), want: "ada a=1", refused: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			js := connect(t, natsServer(t, t.TempDir()))
			s := open(t, js, identities.Options{MaxTraits: 7})
			if test.before != nil {
				s.Identify(production, "ada", test.before)
				flush(t, s)
			}
			before := s.Stats().Saved
			if got := show(s.Identify(production, "ada", test.changes)); got != test.want {
				t.Errorf("answered %s, want %s", got, test.want)
			}
			if got := show(s.Get(production, "ada")); got != test.want {
				t.Errorf("remembers %s, want %s", got, test.want)
			}
			flush(t, s)
			if got := show(s.Get(production, "ada")); got != test.want {
				t.Errorf("after storing it remembers %s, want %s", got, test.want)
			}
			stats := s.Stats()
			if saved := stats.Saved - before; saved != test.saved {
				t.Errorf("stored %d records, want %d", saved, test.saved)
			}
			if stats.Refused != test.refused {
				t.Errorf("refused %d traits, want %d", stats.Refused, test.refused)
			}
			if got := show(open(t, js, identities.Options{}).Get(production, "ada")); got != test.want {
				t.Errorf("another process has %s, want %s", got, test.want)
			}
		})
	}
}

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	clock := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	now := func() time.Time { return clock }
	staging := identities.EnvironmentToken("6f1d8f6c-6f3b-5a5e-9d43-0b8d3f7f2c11", 4)

	nats := natsServer(t, dir)
	s := open(t, connect(t, nats), identities.Options{Now: now})
	identifiers := []string{"ada", "grace@example.com", "ünï cödé * > . ", strings.Repeat("long", 500), ""}
	for i, identifier := range identifiers {
		s.Identify(production, identifier, traits("n", i))
	}
	s.Identify(staging, "ada", traits("stage", true))
	flush(t, s)
	clock = clock.Add(time.Hour)
	s.Identify(production, "ada", traits("plan", "pro"))
	s.Identify(production, "grace@example.com", nil) // no change
	before := map[string]*identities.Identity{}
	for _, identifier := range identifiers {
		before[identifier] = s.Get(production, identifier)
	}
	closeStore(t, s) // stores the rest
	stop(nats)

	s = open(t, connect(t, natsServer(t, dir)), identities.Options{Now: now})
	for _, identifier := range identifiers {
		if got := s.Get(production, identifier); !reflect.DeepEqual(got, before[identifier]) {
			t.Errorf("after the restart %+v, before %+v", got, before[identifier])
		}
		if got, ok := s.Identifier(production, before[identifier].Surrogate); got != identifier || !ok {
			t.Errorf("the surrogate of %q leads to %q, %t", identifier, got, ok)
		}
	}
	ada := s.Get(production, "ada")
	if want := clock.Add(-time.Hour); !ada.Created.Equal(want) || !ada.Updated.Equal(clock) {
		t.Errorf("ada was created %s and updated %s, want %s and %s", ada.Created, ada.Updated, want, clock)
	}
	if got := show(s.Get(staging, "ada")); got != "ada stage=true" {
		t.Errorf("the other environment has %s", got)
	}
	if s.Get(staging, "ada").Surrogate == ada.Surrogate {
		t.Error("a person has the same surrogate in two environments")
	}
	if _, ok := s.Identifier(staging, ada.Surrogate); ok {
		t.Error("a surrogate is known in another environment")
	}
	for _, unknown := range []string{"", "nonsense", "00000000-0000-4000-8000-000000000000"} {
		if identifier, ok := s.Identifier(production, unknown); ok {
			t.Errorf("the surrogate %q leads to %q", unknown, identifier)
		}
	}
	if stats := s.Stats(); stats.Persons != len(identifiers)+1 || stats.Unreadable > 0 {
		t.Errorf("after the restart %+v", stats)
	}
}

func TestSurrogate(t *testing.T) {
	js := connect(t, natsServer(t, t.TempDir()))
	s := open(t, js, identities.Options{})

	identified := s.Identify(production, "ada", traits("a", 1))
	surrogates := make([]string, 8)
	var wg sync.WaitGroup
	for i := range surrogates {
		wg.Go(func() { surrogates[i] = surrogate(t, s, []string{"ada", "grace"}[i%2]) })
	}
	wg.Wait()
	other := open(t, js, identities.Options{}) // sees what is durable
	for i, got := range surrogates {
		if want := surrogates[i%2]; got != want {
			t.Errorf("surrogate %s, and then %s", want, got)
		}
		if who, ok := other.Identifier(production, got); !ok || who != []string{"ada", "grace"}[i%2] {
			t.Errorf("another process takes surrogate %d for %q, %t", i, who, ok)
		}
	}
	if surrogates[0] != identified.Surrogate {
		t.Errorf("identified as %s, then %s", identified.Surrogate, surrogates[0])
	}
	if got := show(other.Get(production, "ada")); got != "ada a=1" {
		t.Errorf("another process has %s", got)
	}

	closeStore(t, s)
	if got := surrogate(t, s, "ada"); got != surrogates[0] {
		t.Errorf("closed, the surrogate is %s", got)
	}
	if _, err := s.Surrogate(t.Context(), production, "new"); err == nil {
		t.Error("a closed store promised to keep someone")
	}
}

func surrogate(t testing.TB, s *identities.Store, identifier string) string {
	got, err := s.Surrogate(t.Context(), production, identifier)
	if err != nil {
		t.Error(err)
	}
	return got
}

func TestList(t *testing.T) {
	s := open(t, connect(t, natsServer(t, t.TempDir())), identities.Options{})
	var all []string
	for i := range 500 {
		all = append(all, fmt.Sprintf("p%03d", i*7%500))
		s.Identify(production, all[i], nil)
	}
	slices.Sort(all)
	list := func(after string, limit int) (found []string) {
		for _, id := range s.List(production, after, limit) {
			found = append(found, id.Identifier)
		}
		return found
	}
	var paged []string
	for page := list("", 33); len(page) > 0; page = list(page[len(page)-1], 33) {
		paged = append(paged, page...)
	}
	if !slices.Equal(paged, all) {
		t.Errorf("in pages of 33: %v", paged)
	}
	for _, limit := range []int{1, 499, 500, 501} {
		if got := list("", limit); !slices.Equal(got, all[:min(limit, 500)]) {
			t.Errorf("the first %d: %v", limit, got)
		}
	}
	if got := list("p498x", 10); !slices.Equal(got, all[499:]) {
		t.Errorf("behind p498x: %v", got)
	}
	if got := list("", 0); len(got) > 0 {
		t.Errorf("the first 0: %v", got)
	}
}

func TestHandedOutIsImmutable(t *testing.T) {
	s := open(t, connect(t, natsServer(t, t.TempDir())), identities.Options{})
	changes := traits("a", 1, "b", 2)
	first := s.Identify(production, "ada", changes)
	changes[0].Key = "changed"
	s.Identify(production, "ada", traits("a", nil, "b", 3, "c", 4))
	if got := show(first); got != "ada a=1 b=2" {
		t.Errorf("what was handed out became %s", got)
	}
	flush(t, s)
	if got := show(s.Get(production, "ada")); got != "ada b=3 c=4" {
		t.Errorf("the store has %s", got)
	}
}

func TestStreamsAreVerified(t *testing.T) {
	for property, spoil := range map[string]func(*jetstream.StreamConfig){
		"max_age":              func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour },
		"max_msgs":             func(c *jetstream.StreamConfig) { c.MaxMsgs = 10 },
		"max_msgs_per_subject": func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 2 },
		"deny_delete":          func(c *jetstream.StreamConfig) { c.DenyDelete = true },
		"deny_purge":           func(c *jetstream.StreamConfig) { c.DenyPurge = true },
		"allow_atomic":         func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false },
		"storage":              func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage },
		"subjects":             func(c *jetstream.StreamConfig) { c.Subjects = c.Subjects[:1] },
		"persist_mode": func(c *jetstream.StreamConfig) {
			c.PersistMode, c.AllowAtomicPublish = jetstream.AsyncPersistMode, false
		},
	} {
		t.Run(property, func(t *testing.T) {
			t.Parallel()
			js := connect(t, natsServer(t, t.TempDir()))
			closeStore(t, open(t, js, identities.Options{}))
			stream, err := js.Stream(t.Context(), identities.PersonsStream)
			if err != nil {
				t.Fatal(err)
			}
			config := stream.CachedInfo().Config
			spoil(&config)
			if err := js.DeleteStream(t.Context(), config.Name); err != nil {
				t.Fatal(err)
			}
			if _, err := js.CreateStream(t.Context(), config); err != nil {
				t.Fatal(err)
			}
			_, err = identities.Open(t.Context(), js, identities.Options{})
			if err == nil || !strings.Contains(err.Error(), property+" is ") || !strings.Contains(err.Error(), identities.PersonsStream) {
				t.Errorf("opened with: %v", err)
			}
		})
	}

	t.Run("max_payload", func(t *testing.T) {
		js := connect(t, natsServer(t, t.TempDir(), func(o *server.Options) { o.MaxPayload = 64 << 10 }))
		if _, err := identities.Open(t.Context(), js, identities.Options{}); err == nil || !strings.Contains(err.Error(), "max_payload") {
			t.Errorf("opened with: %v", err)
		}
	})
	t.Run("replicas on one server", func(t *testing.T) {
		js := connect(t, natsServer(t, t.TempDir()))
		if _, err := identities.Open(t.Context(), js, identities.Options{Replicas: 3}); err == nil {
			t.Error("opened with three replicas on one server")
		}
	})
	t.Run("lost peppers", func(t *testing.T) {
		js := connect(t, natsServer(t, t.TempDir()))
		s := open(t, js, identities.Options{})
		surrogate(t, s, "ada")
		closeStore(t, s)
		if err := js.DeleteStream(t.Context(), identities.PeppersStream); err != nil {
			t.Fatal(err)
		}
		if _, err := identities.Open(t.Context(), js, identities.Options{}); err == nil || !strings.Contains(err.Error(), "has no pepper for environment "+string(production)) {
			t.Errorf("opened with: %v", err)
		}
	})
}
