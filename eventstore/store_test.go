package eventstore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"flagledger/domain"
	"flagledger/eventstore"
	"flagledger/eventstore/storetest"
)

func TestEmbedded(t *testing.T) {
	storetest.Run(t, func(t *testing.T) *eventstore.Store { return storetest.New(t) })
}

// TestCluster runs the suite on three servers, each with a copy of the log.
func TestCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("starts three servers")
	}
	cluster := storetest.StartCluster(t, 3)
	storetest.Run(t, func(t *testing.T) *eventstore.Store {
		store := storetest.Open(t, eventstore.Options{URL: cluster.URL()})
		t.Cleanup(func() {
			if err := store.JetStream().DeleteStream(context.Background(), eventstore.Stream); err != nil {
				t.Errorf("delete the log for the next test: %v", err)
			}
		})
		return store
	})
}

// single starts one server that listens, and gives options to use it.
func single(t *testing.T) (*storetest.Cluster, eventstore.Options) {
	cluster := storetest.StartCluster(t, 1)
	return cluster, eventstore.Options{URL: cluster.URL(), Replicas: 1}
}

func TestRestartKeepsTheLog(t *testing.T) {
	dir := t.TempDir()
	last := uint64(0)
	for range 3 {
		store, err := eventstore.Open(t.Context(), eventstore.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		found, err := store.Last(t.Context(), "p")
		if err != nil || found != last {
			t.Errorf("last position %d, %v after a restart, want %d", found, err, last)
		}
		for range 5 {
			if last, err = store.Append(t.Context(), storetest.Commit("p", "x"), last); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(store.Close(), store.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Append(t.Context(), storetest.Commit("p", "x"), last); !isUnavailable(err) {
			t.Errorf("closed store: error %v, want an UnavailableError", err)
		}
	}
	if last != 15 {
		t.Errorf("last position %d, want 15", last)
	}
}

func isUnavailable(err error) bool {
	_, unavailable := errors.AsType[*eventstore.UnavailableError](err)
	refusal, ok := errors.AsType[*domain.Error](err)
	return unavailable && ok && refusal.Kind == domain.Unavailable
}

func TestDataDirectoryIsLocked(t *testing.T) {
	dir := t.TempDir()
	storetest.Open(t, eventstore.Options{Dir: dir})
	_, err := eventstore.Open(t.Context(), eventstore.Options{Dir: dir})
	if err == nil {
		t.Fatal("two stores opened on one directory")
	}
	for _, want := range []string{dir, strconv.Itoa(os.Getpid())} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not name %s", err, want)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	locked := storetest.StartCluster(t, 1, func(o *server.Options) { o.Username, o.Password = "app", "secret" })
	plain := storetest.StartCluster(t, 1)
	tests := []struct {
		name      string
		options   eventstore.Options
		want      string
		permanent bool
	}{
		{"nothing", eventstore.Options{}, "either", true},
		{"both", eventstore.Options{Dir: "x", URL: "nats://x"}, "either", true},
		{"a file as directory", eventstore.Options{Dir: file}, file, false},
		{"wrong password", eventstore.Options{URL: strings.Replace(locked.URL(), "//", "//app:hunter2@", 1)}, "Authorization", true},
		{"wrong token", eventstore.Options{URL: strings.Replace(locked.URL(), "//", "//hunter2@", 1)}, "Authorization", true},
		{"no URL", eventstore.Options{URL: "nats://app:hunter2@bad host"}, "not a URL", true},
		{"nobody there", eventstore.Options{URL: "nats://127.0.0.1:1", StartTimeout: time.Millisecond}, "127.0.0.1:1", false},
		{"too few servers", eventstore.Options{URL: plain.URL(), Replicas: 3}, "replicas > 1 not supported", true},
		{"no such credentials", eventstore.Options{URL: plain.URL(), CredentialsFile: file + "x"}, file, true},
		{"no such CA", eventstore.Options{URL: plain.URL(), CAFile: file + "x"}, file, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := eventstore.Open(t.Context(), tt.options)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error %q tells the password", err)
			}
			if got := eventstore.Permanent(err); got != tt.permanent {
				t.Errorf("%v: permanent is %v, want %v", err, got, tt.permanent)
			}
		})
	}
}

// TestOpenVerifiesTheStream: what exists is used only if it keeps history.
func TestOpenVerifiesTheStream(t *testing.T) {
	_, options := single(t)
	js := storetest.Open(t, options).JetStream()
	info, err := js.Stream(t.Context(), eventstore.Stream)
	if err != nil {
		t.Fatal(err)
	}
	good := info.CachedInfo().Config
	for property, change := range map[string]func(*jetstream.StreamConfig){
		"max_age":           func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour },
		"deny_delete":       func(c *jetstream.StreamConfig) { c.DenyDelete = false },
		"allow_rollup_hdrs": func(c *jetstream.StreamConfig) { c.DenyPurge, c.AllowRollup = false, true },
		"allow_msg_ttl":     func(c *jetstream.StreamConfig) { c.AllowMsgTTL = true },
		"discard":           func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld },
		"storage":           func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage },
		"subjects":          func(c *jetstream.StreamConfig) { c.Subjects = []string{"flagledger.>"} },
		"first_seq":         func(c *jetstream.StreamConfig) { c.FirstSeq = 100 },
		"subject_transform": func(c *jetstream.StreamConfig) {
			c.SubjectTransform = &jetstream.SubjectTransformConfig{Source: ">", Destination: "x.>"}
		},
		"duplicate_window":   func(c *jetstream.StreamConfig) { c.Duplicates = time.Minute },
		"max_msgs is 5":      func(c *jetstream.StreamConfig) { c.MaxMsgs = 5 },
		"persist_mode":       func(c *jetstream.StreamConfig) { c.PersistMode = jetstream.AsyncPersistMode },
		"allow_direct":       func(c *jetstream.StreamConfig) { c.AllowDirect = true },
		"max_bytes is 99999": func(c *jetstream.StreamConfig) { c.MaxBytes = 99999 },
	} {
		t.Run(property, func(t *testing.T) {
			config := good
			change(&config)
			replaceLog(t, js, config)
			if _, err := eventstore.Open(t.Context(), options); err == nil || !strings.Contains(err.Error(), property) {
				t.Errorf("error %v, want one that names %s", err, property)
			}
		})
	}
}

// TestOpenFindsMissingMessages: a log with a hole is no log, however it came about.
func TestOpenFindsMissingMessages(t *testing.T) {
	_, options := single(t)
	store := storetest.Open(t, options)
	punch(t, store, 5, 3)
	if _, err := eventstore.Open(t.Context(), options); err == nil || !strings.Contains(err.Error(), "messages is 4, must be 5") {
		t.Errorf("error %v, want one that says that a message is missing", err)
	}
}

// punch replaces the log by one with n commits, and deletes one of them.
func punch(t *testing.T, store *eventstore.Store, n int, hole uint64) {
	t.Helper()
	js := store.JetStream()
	stream, err := js.Stream(t.Context(), eventstore.Stream)
	if err != nil {
		t.Fatal(err)
	}
	soft, good := stream.CachedInfo().Config, stream.CachedInfo().Config
	soft.DenyDelete = false
	stream = replaceLog(t, js, soft)
	last := uint64(0)
	for range n {
		if last, err = store.Append(t.Context(), storetest.Commit("p", "x"), last); err != nil {
			t.Fatal(err)
		}
	}
	if err := stream.DeleteMsg(t.Context(), hole); err != nil {
		t.Fatal(err)
	}
	if _, err := js.UpdateStream(t.Context(), good); err != nil {
		t.Fatal(err)
	}
}

// replaceLog deletes the log and creates another one.
func replaceLog(t *testing.T, js jetstream.JetStream, config jetstream.StreamConfig) jetstream.Stream {
	t.Helper()
	if err := js.DeleteStream(t.Context(), eventstore.Stream); err != nil {
		t.Fatal(err)
	}
	for {
		stream, err := js.CreateStream(t.Context(), config)
		if err == nil {
			return stream
		}
		// The server may still be removing the files of the old one.
		if apiErr, ok := errors.AsType[*jetstream.APIError](err); !ok || apiErr.ErrorCode != 10049 {
			t.Fatal(err)
		}
	}
}

func TestReadersStopAtAHole(t *testing.T) {
	_, options := single(t)
	store := storetest.Open(t, options)
	punch(t, store, 5, 3)
	want := eventstore.HistoryError{Position: 3, Found: 4}

	read := 0
	err := store.Load(t.Context(), 1, func(eventstore.Message) error { read++; return nil })
	if hole, ok := errors.AsType[*eventstore.HistoryError](err); !ok || *hole != want || read != 2 {
		t.Errorf("Load: error %v after %d messages, want %v after 2", err, read, &want)
	}

	sub := store.Subscriber(func() uint64 { return 0 })
	defer func() { _ = sub.Close() }()
	messages, err := sub.Subscribe(t.Context(), eventstore.Subjects)
	if err != nil {
		t.Fatal(err)
	}
	read = 0
	for m := range messages {
		read++
		m.Ack()
	}
	if hole, ok := errors.AsType[*eventstore.HistoryError](sub.Err()); !ok || *hole != want || read != 2 {
		t.Errorf("Subscriber: error %v after %d messages, want %v after 2", sub.Err(), read, &want)
	}
}

// TestCheckpointAheadOfTheLog: the views have seen what the log no longer has.
func TestCheckpointAheadOfTheLog(t *testing.T) {
	store := storetest.New(t)
	if _, err := store.Append(t.Context(), storetest.Commit("p", "x"), 0); err != nil {
		t.Fatal(err)
	}
	sub := store.Subscriber(func() uint64 { return 7 })
	defer func() { _ = sub.Close() }()
	messages, err := sub.Subscribe(t.Context(), eventstore.Subjects)
	if err != nil {
		t.Fatal(err)
	}
	for m := range messages {
		t.Errorf("got message %v", m.Metadata)
	}
	if short, ok := errors.AsType[*eventstore.HistoryError](sub.Err()); !ok || *short != (eventstore.HistoryError{Position: 8, Found: 1}) {
		t.Errorf("error %v, want a HistoryError for position 8", sub.Err())
	}
}

// muted is a store behind a proxy, with an observer who sees the log directly.
func muted(t *testing.T, appendTimeout time.Duration) (*eventstore.Store, *storetest.Proxy, <-chan *message.Message) {
	cluster, options := single(t)
	observer := storetest.Open(t, options)
	sub := observer.Subscriber(func() uint64 { return 0 })
	t.Cleanup(func() { _ = sub.Close() })
	recorded, err := sub.Subscribe(t.Context(), eventstore.Subjects)
	if err != nil {
		t.Fatal(err)
	}
	proxy := storetest.StartProxy(t, strings.TrimPrefix(cluster.URL(), "nats://"))
	options.URL, options.AppendTimeout = proxy.URL(), appendTimeout
	return storetest.Open(t, options), proxy, recorded
}

// TestLostAcknowledgement: the connection breaks after the commit was recorded
// and before the answer came. Append finds its own commit.
func TestLostAcknowledgement(t *testing.T) {
	store, proxy, recorded := muted(t, 0)
	proxy.Mute()
	done := make(chan error, 1)
	go func() {
		position, err := store.Append(t.Context(), storetest.Commit("p", "x"), 0)
		if err == nil && position != 1 {
			err = fmt.Errorf("position %d, want 1", position)
		}
		done <- err
	}()
	(<-recorded).Ack()
	proxy.Cut()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if last, err := store.LastPosition(t.Context()); err != nil || last != 1 {
		t.Errorf("last position %d, %v, want 1", last, err)
	}
}

// TestUnknownOutcome: a commit was recorded but no answer gets through, in time
// or before the caller left. Append does not claim that it failed, and the same
// commit can be appended again.
func TestUnknownOutcome(t *testing.T) {
	tests := []struct {
		name  string
		leave bool
	}{{"timeout", false}, {"caller left", true}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			store, proxy, recorded := muted(t, 500*time.Millisecond)
			proxy.Mute()
			c := storetest.Commit("p", "x")
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			done := make(chan error, 1)
			go func() {
				_, err := store.Append(ctx, c, 0)
				done <- err
			}()
			(<-recorded).Ack()
			if tt.leave {
				leave()
			}
			err := <-done
			unknown, ok := errors.AsType[*eventstore.UnknownOutcomeError](err)
			if !ok || unknown.CommitID != c.ID {
				t.Fatalf("error %v, want an UnknownOutcomeError for %s", err, c.ID)
			}
			if refusal, ok := errors.AsType[*domain.Error](err); !ok || refusal.Kind != domain.Unavailable {
				t.Errorf("%v is not a refusal of kind unavailable", err)
			}
			proxy.Cut()
			position, err := store.Append(t.Context(), c, 0)
			for isUnavailable(err) {
				position, err = store.Append(t.Context(), c, 0)
			}
			if err != nil || position != 1 {
				t.Errorf("appended again: position %d, %v, want 1", position, err)
			}
		})
	}
}

// TestServerAway: while nobody is there an append fails for certain, and
// afterwards everything goes on.
func TestServerAway(t *testing.T) {
	cluster, options := single(t)
	options.AppendTimeout = 300 * time.Millisecond
	store := storetest.Open(t, options)
	sub := store.Subscriber(func() uint64 { return 0 })
	defer func() { _ = sub.Close() }()
	messages, err := sub.Subscribe(t.Context(), eventstore.Subjects)
	if err != nil {
		t.Fatal(err)
	}
	last, err := store.Append(t.Context(), storetest.Commit("p", "before"), 0)
	if err != nil {
		t.Fatal(err)
	}
	(<-messages).Ack()

	cluster.Stop(0)
	// The client notices within moments; until then the outcome is unknown.
	c := storetest.Commit("p", "during")
	for !isUnavailable(store.Health(t.Context())) {
	}
	if _, err := store.Append(t.Context(), c, last); !isUnavailable(err) {
		t.Errorf("error %v, want an UnavailableError", err)
	}
	if _, err := store.Last(t.Context(), "p"); !isUnavailable(err) {
		t.Errorf("Last: error %v, want an UnavailableError", err)
	}

	cluster.Start(0)
	for isUnavailable(err) || err == nil && last == 1 {
		last, err = store.Append(t.Context(), c, 1)
	}
	if err != nil || last != 2 {
		t.Fatalf("afterwards: position %d, %v, want 2", last, err)
	}
	m := <-messages
	if m.Metadata.Get(eventstore.MetaPosition) != "2" {
		t.Errorf("the subscriber went on with %v, want position 2", m.Metadata)
	}
	m.Ack()
	if err := store.Health(t.Context()); err != nil {
		t.Errorf("health afterwards: %v", err)
	}
}

// TestConsumersVanish: the server forgets the subscriber's consumer again and
// again, and the subscriber misses nothing.
func TestConsumersVanish(t *testing.T) {
	store := storetest.New(t)
	stream, err := store.JetStream().Stream(t.Context(), eventstore.Stream)
	if err != nil {
		t.Fatal(err)
	}
	sub := store.Subscriber(func() uint64 { return 0 })
	messages, err := sub.Subscribe(t.Context(), eventstore.Subjects)
	if err != nil {
		t.Fatal(err)
	}
	last := uint64(0)
	for range 20 {
		for range 3 {
			if last, err = store.Append(t.Context(), storetest.Commit("p", "x"), last); err != nil {
				t.Fatal(err)
			}
		}
		for position := last - 2; position <= last; position++ {
			m := <-messages
			if m.Metadata.Get(eventstore.MetaPosition) != fmt.Sprint(position) {
				t.Fatalf("metadata %v, want position %d", m.Metadata, position)
			}
			m.Ack()
			for name := range stream.ConsumerNames(t.Context()).Name() {
				_ = stream.DeleteConsumer(t.Context(), name) // it may be gone already
			}
		}
	}
	if err := sub.Close(); err != nil {
		t.Fatal(err)
	}
	// One that was being made as the subscriber closed is forgotten within a minute.
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		info, err := stream.Info(ctx)
		if err != nil {
			t.Fatalf("consumers left behind: %v", err)
		}
		if info.State.Consumers == 0 {
			return
		}
		<-again.C
	}
}

// TestRouter runs a reader as the views are: a watermill router, a transaction
// of several commits, failures and panics on the way.
func TestRouter(t *testing.T) {
	const commits, batch = 300, 10
	store := storetest.New(t)
	last := uint64(0)
	for range commits {
		var err error
		if last, err = store.Append(t.Context(), storetest.Commit("p", "x"), last); err != nil {
			t.Fatal(err)
		}
	}
	var committed, open []uint64 // positions; the second is lost in a failure
	failed := map[uint64]bool{}
	sub := store.Subscriber(func() uint64 { open = nil; return uint64(len(committed)) })
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, done := context.WithCancel(t.Context())
	router.AddConsumerHandler("views", eventstore.Subjects, sub, func(m *message.Message) error {
		r, err := eventstore.Decode(m)
		if err != nil {
			return err
		}
		if r.Position%37 == 0 && !failed[r.Position] {
			failed[r.Position] = true
			if r.Position%2 == 0 {
				panic("disk on fire")
			}
			return errors.New("disk full")
		}
		open = append(open, r.Position)
		if len(open) == batch || m.Metadata.Get(eventstore.MetaPending) == "0" {
			committed = append(committed, open...)
			open = nil
		}
		if len(committed) == commits {
			done()
		}
		return nil
	})
	if err := router.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(router.Close(), sub.Err()); err != nil {
		t.Fatal(err)
	}
	for i, position := range committed {
		if position != uint64(i+1) {
			t.Fatalf("position %d was applied in place %d", position, i+1)
		}
	}
	if len(committed) != commits || len(failed) != commits/37 {
		t.Errorf("applied %d with %d failures, want %d with %d", len(committed), len(failed), commits, commits/37)
	}
}

// TestLeaderStops: writers and a reader go on while the server that leads the
// log is stopped, and later another one while the first is back.
func TestLeaderStops(t *testing.T) {
	if testing.Short() {
		t.Skip("starts three servers and waits for elections")
	}
	cluster := storetest.StartCluster(t, 3)
	store := storetest.Open(t, eventstore.Options{URL: cluster.URL(), AppendTimeout: 30 * time.Second})
	sub := store.Subscriber(func() uint64 { return 0 })
	defer func() { _ = sub.Close() }()
	messages, err := sub.Subscribe(t.Context(), eventstore.Subjects)
	if err != nil {
		t.Fatal(err)
	}
	const writers, each = 4, 100
	ids := make(chan string, writers*each)
	for w := range writers {
		go func() {
			last := uint64(0)
			for range each {
				c := storetest.Commit(fmt.Sprint("p", w), "x")
				position, err := store.Append(t.Context(), c, last)
				if err != nil {
					t.Error(err)
				}
				last = position
				ids <- c.ID
			}
		}()
	}
	acknowledged := map[string]bool{}
	for i := range writers * each {
		if i == 50 || i == 200 {
			leader := cluster.Leader(eventstore.Stream)
			for leader < 0 { // between two leaders
				leader = cluster.Leader(eventstore.Stream)
			}
			cluster.Stop(leader)
			if i == 50 {
				cluster.Start(leader)
			}
		}
		acknowledged[<-ids] = true
	}
	for i := range writers * each {
		m := <-messages
		if m.Metadata.Get(eventstore.MetaPosition) != fmt.Sprint(i+1) || !acknowledged[m.UUID] {
			t.Fatalf("message %d: %v, acknowledged: %v", i+1, m.Metadata, acknowledged[m.UUID])
		}
		delete(acknowledged, m.UUID)
		m.Ack()
	}
	if end, err := store.LastPosition(t.Context()); err != nil || end != writers*each || len(acknowledged) != 0 {
		t.Errorf("last position %d, %v, want %d; acknowledged but not in the log: %v", end, err, writers*each, acknowledged)
	}
}

func BenchmarkAppend(b *testing.B) {
	store := storetest.New(b)
	last := uint64(0)
	for b.Loop() {
		position, err := store.Append(b.Context(), storetest.Commit("p", "x"), last)
		if err != nil {
			b.Fatal(err)
		}
		last = position
	}
}

// BenchmarkReplay reads a log of 2,000 commits through the subscriber, as a
// rebuild of the views does.
func BenchmarkReplay(b *testing.B) {
	const commits = 2000
	store := storetest.New(b)
	last := uint64(0)
	for i := range commits {
		position, err := store.Append(b.Context(), storetest.Commit("p", fmt.Sprint(i)), last)
		if err != nil {
			b.Fatal(err)
		}
		last = position
	}
	for name, decode := range map[string]bool{"raw": false, "decoded": true} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				sub := store.Subscriber(func() uint64 { return 0 })
				messages, err := sub.Subscribe(b.Context(), eventstore.Subjects)
				if err != nil {
					b.Fatal(err)
				}
				for range commits {
					m := <-messages
					if decode {
						if _, err := eventstore.Decode(m); err != nil {
							b.Fatal(err)
						}
					}
					m.Ack()
				}
				if err := sub.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(commits*float64(b.N)/b.Elapsed().Seconds(), "commits/s")
		})
	}
}
