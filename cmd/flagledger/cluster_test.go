package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/mod/sumdb/tlog"

	"flagledger/eventstore"
	"flagledger/eventstore/storetest"
	httpapi "flagledger/http"
	"flagledger/migrations"
	"flagledger/projections"
)

// beNode in the environment of a test binary makes it be a node of a NATS cluster, with the configuration file it names. A process of its own can
// be lost as a machine is: killed, a node does not hand over what it leads.
const beNode = "FLAGLEDGER_TEST_BE_NATS"

func runNode(config string) {
	options, err := server.ProcessConfigFile(config)
	if err != nil {
		panic(err)
	}
	node, err := server.NewServer(options)
	if err != nil {
		panic(err)
	}
	node.Start()
	node.WaitForShutdown()
}

// A cluster is three nodes, n0 to n2, each a process.
type cluster struct {
	t       testing.TB
	dir     string
	clients []string // address by node
	nodes   []*exec.Cmd
	js      jetstream.JetStream // of the test itself
}

func startNodes(t testing.TB) *cluster {
	t.Helper()
	const n = 3
	c := &cluster{t: t, dir: t.TempDir(), nodes: make([]*exec.Cmd, n)}
	var routes []string
	for range n {
		c.clients, routes = append(c.clients, storetest.FreeAddress(t)), append(routes, storetest.FreeAddress(t))
	}
	t.Cleanup(func() {
		for i := range c.nodes {
			c.kill(i)
		}
	})
	for i := range n {
		config := fmt.Sprintf("server_name: n%d\nlisten: %q\nmax_payload: 8MB\njetstream { store_dir: %q, sync_interval: always }\ncluster { name: c, listen: %q, routes: [nats://%s] }\n",
			i, c.clients[i], filepath.Join(c.dir, fmt.Sprint(i)), routes[i], strings.Join(routes, ", nats://"))
		if err := os.WriteFile(c.config(i), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		c.start(i)
	}
	conn, err := nats.Connect(c.url(), nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true), nats.ReconnectWait(20*time.Millisecond),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	if c.js, err = jetstream.New(conn); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *cluster) config(i int) string { return filepath.Join(c.dir, fmt.Sprintf("n%d.conf", i)) }

func (c *cluster) url() string { return "nats://" + strings.Join(c.clients, ",nats://") }

// start starts a node, on what it had before.
func (c *cluster) start(i int) {
	c.t.Helper()
	binary, err := os.Executable()
	if err != nil {
		c.t.Fatal(err)
	}
	c.nodes[i] = exec.Command(binary)
	c.nodes[i].Env = append(os.Environ(), beNode+"="+c.config(i))
	if err := c.nodes[i].Start(); err != nil {
		c.t.Fatal(err)
	}
}

// kill ends a node without a word.
func (c *cluster) kill(i int) {
	if c.nodes[i] != nil && c.nodes[i].ProcessState == nil {
		_ = c.nodes[i].Process.Signal(syscall.SIGKILL)
		_ = c.nodes[i].Wait() // "signal: killed" is what was asked for
	}
}

// leader waits until the log has a leader, and all of its copies are up to date, and returns the leader.
func (c *cluster) leader() int {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	for {
		once, cancel := context.WithTimeout(ctx, time.Second)
		stream, err := c.js.Stream(once, eventstore.Stream)
		cancel()
		if err == nil {
			if info := stream.CachedInfo().Cluster; info != nil && info.Leader != "" && len(info.Replicas) == len(c.nodes)-1 &&
				!slices.ContainsFunc(info.Replicas, func(p *jetstream.PeerInfo) bool { return !p.Current || p.Offline }) {
				leader, err := strconv.Atoi(strings.TrimPrefix(info.Leader, "n"))
				if err != nil {
					c.t.Fatal(err)
				}
				return leader
			}
			err = fmt.Errorf("%+v", stream.CachedInfo().Cluster)
		}
		if ctx.Err() != nil {
			c.t.Fatalf("the log is not whole on all nodes within %v: %v", patience, err)
		}
	}
}

// One leader of the log after the other is killed under sixteen writers, half of them at one Flagledger and half at another. Every change that was
// acknowledged is recorded, once; each can be read at the other Flagledger for its position; and in the end both have the same views, byte for
// byte: state, versions, digests, audit and the tree of the transparency log.
func TestCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for elections")
	}
	t.Parallel()
	kills := rounds(t, 1, 1)
	nodes := startNodes(t)
	var replicas []*program
	var dirs []string
	for i := range 2 {
		dirs = append(dirs, t.TempDir())
		replicas = append(replicas, serving(t, []string{"FLAGLEDGER_ADMIN_TOKEN=" + rootToken}, "--data-dir", dirs[i], "--nats-url", nodes.url()))
	}
	for _, p := range replicas {
		p.awaitReady(http.StatusOK)
	}
	const writers = 16
	feature := func(w int) string { return fmt.Sprint("feature-", w) }
	var features []string
	for w := range writers {
		features = append(features, feature(w))
	}
	replicas[0].openShop(features...)
	replicas[1].awaitPosition(replicas[0].position())

	ctx, done := context.WithCancel(t.Context())
	defer done()
	acks := make(chan struct{})
	acked := make([][]uint64, writers) // position of each writer's changes, in their order
	var again atomic.Int64
	// change makes a change until it is acknowledged, at one replica or the other.
	change := func(w, n int) uint64 {
		r := request{
			method: "PATCH", path: live + "/features/" + feature(w), header: map[string]string{"Idempotency-Key": fmt.Sprintf("%d %d", w, n)},
			body: fmt.Sprintf(`{"value":"%d","reason":"%d %d"}`, n, w, n),
		}
		for attempt := w; ; attempt++ {
			a := replicas[attempt%2].send(t.Context(), r)
			position, err := strconv.ParseUint(a.header.Get("Flagledger-Position"), 10, 64)
			switch {
			case t.Context().Err() != nil:
				return 0
			case a.err == nil && err == nil && (a.status == http.StatusOK || a.status == http.StatusAccepted):
				return position
			case a.err != nil || a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "":
				t.Errorf("change %d of writer %d: %d %s, error %v; want it done, or 503 with Retry-After", n, w, a.status, a.body, a.err)
				return 0
			}
			again.Add(1)
		}
	}
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			other := replicas[(w+1)%2]
			for n := 1; ctx.Err() == nil; n++ {
				position := change(w, n)
				if position == 0 {
					return
				}
				acked[w] = append(acked[w], position)
				if got, err := other.flagAt(feature(w), position); err != nil || got != fmt.Sprint(n) {
					t.Errorf("for position %d the other replica serves %q for %s, want %d; error %v", position, got, feature(w), n, err)
				}
				select {
				case acks <- struct{}{}:
				case <-ctx.Done():
				}
			}
		})
	}
	some := func(n int) {
		t.Helper()
		giveUp := time.NewTimer(patience)
		defer giveUp.Stop()
		for range n {
			select {
			case <-acks:
			case <-giveUp.C:
				t.Fatalf("%d changes take more than %v", n, patience)
			}
		}
	}
	for range kills {
		some(5 * writers)
		leader := nodes.leader()
		nodes.kill(leader)
		some(5 * writers)
		nodes.start(leader)
	}
	some(writers)
	done()
	writing.Wait()
	if t.Failed() {
		return
	}

	last, total := uint64(0), 0
	for w := range writers {
		last, total = max(last, slices.Max(acked[w])), total+len(acked[w])
	}
	var histories [2][]entry
	for i, p := range replicas {
		p.awaitPosition(last)
		histories[i] = p.audit("&project=shop")
	}
	if !reflect.DeepEqual(histories[0], histories[1]) {
		t.Error("the replicas tell different histories")
	}
	recorded := map[string][]uint64{}
	for _, e := range histories[0] {
		recorded[e.Reason] = append(recorded[e.Reason], e.Position)
	}
	for w := range writers {
		for n, position := range acked[w] {
			reason := fmt.Sprintf("%d %d", w, n+1)
			if !slices.Equal(recorded[reason], []uint64{position}) {
				t.Errorf("change %q was acknowledged at position %d; it is recorded at %v", reason, position, recorded[reason])
			}
		}
		if n := len(recorded[fmt.Sprintf("%d %d", w, len(acked[w])+1)]); n > 0 {
			t.Errorf("writer %d has a change that it never had an answer for", w)
		}
	}
	checkVersions(t, histories[0])
	t.Logf("%d leaders killed, %d changes acknowledged, %d asked for again", kills, total, again.Load())

	for _, p := range replicas {
		p.stop(syscall.SIGTERM)
	}
	checkSameViews(t, dirs[0], dirs[1])
}

// flagAt is the value that the environment of the shop serves for a feature at a position or later, as soon as the program has come so far.
func (p *program) flagAt(feature string, position uint64) (string, error) {
	r := request{path: "/api/v1/flags/?feature=" + feature, header: map[string]string{"X-Environment-Key": clientKey, "Flagledger-Min-Position": fmt.Sprint(position)}}
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	for {
		a := p.send(ctx, r)
		if a.err == nil && a.status == http.StatusServiceUnavailable {
			continue // it has waited two seconds, while there is no leader
		}
		var state struct {
			Value string `json:"feature_state_value"`
		}
		if a.err != nil || a.status != http.StatusOK {
			return "", fmt.Errorf("%d %s, error %w", a.status, a.body, a.err)
		}
		return state.Value, json.Unmarshal(a.body, &state)
	}
}

// awaitPosition returns when the program shows the log up to the position.
func (p *program) awaitPosition(position uint64) {
	p.t.Helper()
	p.await(fmt.Sprint("position ", position), func(ctx context.Context) error {
		a := p.send(ctx, request{path: "/readyz"})
		var now struct{ Position uint64 }
		if a.err != nil {
			return a.err
		}
		if err := json.Unmarshal(a.body, &now); err != nil || now.Position < position {
			return fmt.Errorf("%s, error %w", a.body, err)
		}
		return nil
	})
}

// checkSameViews compares the views of two data directories that nobody uses, entry by entry.
func checkSameViews(t *testing.T, dirs ...string) {
	t.Helper()
	var dumps [2][]string
	var roots [2]tlog.Hash
	for i, dir := range dirs {
		views, err := projections.Open(filepath.Join(dir, "views.db"), projections.Options{Schema: migrations.SchemaVersion, Encode: httpapi.EncodeFlag, Upcast: upcast})
		if err != nil {
			t.Fatal(err)
		}
		err = views.Dump(func(bucket, key, value []byte) error {
			dumps[i] = append(dumps[i], fmt.Sprintf("%s %q = %q", bucket, key, value))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if roots[i], err = views.TreeRoot(views.Position()); err != nil {
			t.Fatal(err)
		}
		if err := views.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range min(len(dumps[0]), len(dumps[1])) {
		if dumps[0][i] != dumps[1][i] {
			t.Fatalf("entry %d of the views is\n%s\nand in the other ones\n%s", i, dumps[0][i], dumps[1][i])
		}
	}
	if len(dumps[0]) != len(dumps[1]) || len(dumps[0]) == 0 || roots[0] != roots[1] {
		t.Errorf("the views have %d and %d entries, the trees the roots %v and %v", len(dumps[0]), len(dumps[1]), roots[0], roots[1])
	}
}
