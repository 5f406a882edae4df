package identities_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"flagledger/eventstore/identities"
	"flagledger/eventstore/storetest"
)

func TestTwoProcesses(t *testing.T) {
	srv := natsServer(t, t.TempDir())
	a := open(t, connect(t, srv), identities.Options{})
	b := open(t, connect(t, srv), identities.Options{})
	seenBy := func(s *identities.Store) func() string {
		return func() string { return show(s.Get(production, "ada")) }
	}

	a.Identify(production, "ada", traits("a", 1))
	eventually(t, "ada a=1", seenBy(b))
	b.Identify(production, "ada", traits("b", 2))
	eventually(t, "ada a=1 b=2", seenBy(a))
	if got, want := surrogate(t, b, "ada"), surrogate(t, a, "ada"); got != want {
		t.Errorf("one has %s, the other %s", got, want)
	}

	// Different traits at the same time, and one they disagree on.
	a.Identify(production, "ada", traits("a", 10, "both", "a"))
	b.Identify(production, "ada", traits("b", 20, "both", "b"))
	flush(t, a)
	flush(t, b)
	eventually(t, "both have merged", func() string {
		got, other := seenBy(a)(), seenBy(b)()
		if got == other && (got == `ada a=10 b=20 both="a"` || got == `ada a=10 b=20 both="b"`) {
			return "both have merged"
		}
		return fmt.Sprintf("one has %s, the other %s", got, other)
	})

	// Many new ones at the same time in both.
	for i := range 3000 {
		for n, s := range []*identities.Store{a, b} {
			s.Identify(production, fmt.Sprint("new ", i), traits(fmt.Sprint("t", n), i))
		}
	}
	flush(t, a)
	flush(t, b)
	for i := range 3000 {
		who := fmt.Sprint("new ", i)
		want := fmt.Sprintf("%s t0=%d t1=%d", who, i, i)
		for _, s := range []*identities.Store{a, b} {
			eventually(t, want, func() string { return show(s.Get(production, who)) })
		}
		if got, want := a.Get(production, who).Surrogate, b.Get(production, who).Surrogate; got != want {
			t.Fatalf("%s is %s and %s", who, got, want)
		}
	}
	if a.Stats().Conflicts+b.Stats().Conflicts == 0 {
		t.Error("there was no conflict, so merging was not tested")
	}
}

// Every process counts up its own trait of the same few persons. In the end all
// must have all of it.
func TestNothingIsLostBetweenProcesses(t *testing.T) {
	srv := natsServer(t, t.TempDir())
	mergeEverything(t, func() jetstream.JetStream { return connect(t, srv) }, identities.Options{}, 3, 200)
}

func mergeEverything(t *testing.T, connect func() jetstream.JetStream, o identities.Options, processes, rounds int) {
	const persons = 40
	stores := make([]*identities.Store, processes)
	for i := range stores {
		stores[i] = open(t, connect(), o)
	}
	var wg sync.WaitGroup
	for i, s := range stores {
		wg.Go(func() {
			for round := 1; round <= rounds; round++ {
				for p := range persons {
					s.Identify(production, fmt.Sprint("p", p), traits(fmt.Sprint("t", i), round))
				}
				if round%50 == 0 {
					flush(t, s)
				}
			}
		})
	}
	wg.Wait()
	for _, s := range stores {
		flush(t, s)
	}
	stores = append(stores, open(t, connect(), o))
	for p := range persons {
		words := []string{fmt.Sprint("p", p)}
		for i := range processes {
			words = append(words, fmt.Sprintf("t%d=%d", i, rounds))
		}
		want := strings.Join(words, " ")
		for _, s := range stores {
			eventually(t, want, func() string { return show(s.Get(production, fmt.Sprint("p", p))) })
		}
	}
	for _, s := range stores {
		if stats := s.Stats(); stats.Unreadable+stats.Dropped+stats.Refused > 0 {
			t.Errorf("%+v", stats)
		}
	}
}

// A replaceable server is reached by the same connection after a restart.
type replaceable struct{ atomic.Pointer[server.Server] }

func (r *replaceable) InProcessConn() (net.Conn, error) { return r.Load().InProcessConn() }

func TestNATSAway(t *testing.T) {
	dir := t.TempDir()
	var nc replaceable
	nc.Store(natsServer(t, dir))
	conn, err := nats.Connect("", nats.InProcessServer(&nc), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond), nats.ReconnectJitter(0, 0), nats.ErrorHandler(quietly))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, js, identities.Options{MaxUnsaved: 3})
	s.Identify(production, "ada", traits("a", 1))
	flush(t, s)
	stop(nc.Load())

	// It answers as ever, up to the limit of what it can keep.
	for i := range 5 {
		who := fmt.Sprint("p", i)
		if got, want := show(s.Identify(production, who, traits("n", i))), fmt.Sprintf("%s n=%d", who, i); got != want {
			t.Errorf("answered %s, want %s", got, want)
		}
		kept := s.Get(production, who) != nil
		if want := i < 3; kept != want {
			t.Errorf("%s is kept: %t, want %t", who, kept, want)
		}
	}
	if got := show(s.Identify(production, "ada", traits("a", 2))); got != "ada a=2" {
		t.Errorf("answered %s", got)
	}
	if got := show(s.Get(production, "ada")); got != "ada a=1" {
		t.Errorf("kept %s, though too much is unsaved", got)
	}
	s.Identify(production, "p0", traits("more", true)) // is among what is unsaved already
	if stats := s.Stats(); stats.Dropped != 3 || stats.Unsaved != 3 {
		t.Errorf("%+v, want 3 dropped and 3 unsaved", stats)
	}
	expired, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Flush(expired); err == nil || !strings.Contains(err.Error(), "3 identities") {
		t.Errorf("flushed without NATS: %v", err)
	}
	if _, err := s.Surrogate(expired, production, "p0"); err == nil {
		t.Error("promised to keep a surrogate without NATS")
	}
	if _, _, err := s.Erase(expired, production, "ada"); err == nil {
		t.Error("erased without NATS")
	}
	if got := show(s.Get(production, "ada")); got != "ada a=1" {
		t.Errorf("after a failed erasure the store has %s", got)
	}

	nc.Store(natsServer(t, dir))
	flush(t, s)
	if got := show(s.Identify(production, "ada", traits("a", 3))); got != "ada a=3" {
		t.Errorf("answered %s", got)
	}
	flush(t, s)
	other := open(t, connect(t, nc.Load()), identities.Options{})
	for who, want := range map[string]string{"ada": "ada a=3", "p0": "p0 more=true n=0", "p1": "p1 n=1", "p2": "p2 n=2", "p3": "nobody"} {
		if got := show(other.Get(production, who)); got != want {
			t.Errorf("stored %s, want %s", got, want)
		}
	}
	other.Identify(production, "ada", traits("a", 4)) // the followers have found their way back
	eventually(t, "ada a=4", func() string { return show(s.Get(production, "ada")) })
}

func TestCloseWithoutNATS(t *testing.T) {
	srv := natsServer(t, t.TempDir())
	s := open(t, connect(t, srv), identities.Options{})
	stop(srv)
	s.Identify(production, "ada", nil)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := s.Close(ctx); err == nil || !strings.Contains(err.Error(), "1 identities") {
		t.Errorf("closed: %v", err)
	}
	if s.Identify(production, "grace", nil); s.Get(production, "grace") != nil || s.Stats().Dropped != 1 {
		t.Errorf("kept someone after Close: %+v", s.Stats())
	}
}

// cluster is three servers on loopback, as in the compose file.
func cluster(t *testing.T) []*server.Server {
	t.Helper()
	routes := []string{storetest.FreeAddress(t), storetest.FreeAddress(t), storetest.FreeAddress(t)}
	servers := make([]*server.Server, 3)
	for i := range servers {
		o := &server.Options{
			ServerName: fmt.Sprint("n", i), Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
			JetStream: true, StoreDir: t.TempDir(), SyncAlways: true, DisableJetStreamBanner: true,
			Cluster: server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: storetest.PortOf(t, routes[i])},
			Routes:  server.RoutesFromStr("nats://" + strings.Join(routes, ",nats://")),
		}
		s, err := server.NewServer(o)
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		t.Cleanup(func() { stop(s) })
		servers[i] = s
	}
	return servers
}

func TestCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("starts three NATS servers")
	}
	servers := cluster(t)
	urls := make([]string, len(servers))
	for i, s := range servers {
		urls[i] = s.ClientURL()
	}
	dial := func() jetstream.JetStream {
		conn, err := nats.Connect(strings.Join(urls, ","), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.ErrorHandler(quietly))
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
	probe := dial()
	eventually(t, "<nil>", func() string { // until the servers have found each other
		_, err := probe.CreateStream(t.Context(), jetstream.StreamConfig{Name: "probe", Replicas: 3})
		return fmt.Sprint(err)
	})
	o := identities.Options{Replicas: 3}
	mergeEverything(t, dial, o, 2, 100)

	s := open(t, dial(), o)
	want, _, err := s.Erase(t.Context(), production, "p0")
	if err != nil {
		t.Fatal(err)
	}
	stream, err := dial().Stream(t.Context(), identities.PersonsStream)
	if err != nil {
		t.Fatal(err)
	}
	leader := stream.CachedInfo().Cluster.Leader
	for i := range 500 {
		s.Identify(production, fmt.Sprint("n", i), traits("i", i))
	}
	for _, srv := range servers {
		if srv.Name() == leader {
			stop(srv) // while they are being stored
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	other := open(t, dial(), o)
	for i := range 500 {
		who := fmt.Sprint("n", i)
		if got, want := show(other.Get(production, who)), fmt.Sprintf("%s i=%d", who, i); got != want {
			t.Errorf("stored %s, want %s", got, want)
		}
	}
	if who, ok := other.Identifier(production, want); ok {
		t.Errorf("the erased %s is back as %s", want, who)
	}
}
