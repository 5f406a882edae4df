package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"flagledger/domain"
	"flagledger/domain/evaluation"
	"flagledger/eventstore"
	"flagledger/eventstore/identities"
)

// The size of the made-up project.
const (
	madeFeatures   = 300
	madeSegments   = 100
	madeOverridden = 60 // features with segment overrides, in every environment
	madePersons    = 300
)

// A history makes up the log of a big project: always the same one. Two dozen people and two robots change it, mostly in production and mostly
// the same features, each change with its reason. Every commit is one that commands could have led to, and changes something.
type history struct {
	environments int // the first of them is production

	random  *rand.Rand
	bytes   *rand.ChaCha8
	project *domain.Project
	time    time.Time // of the last commit
	actors  []domain.Actor
	last    int32 // SDK-facing number
}

func newHistory(environments int) *history {
	var seed [32]byte
	copy(seed[:], "flagledger at scale")
	source := rand.NewChaCha8(seed)
	h := &history{
		environments: environments,
		random:       rand.New(source), bytes: source, project: &domain.Project{ID: domain.ProjectID("shop")}, last: 1,
		time: time.Date(2025, 1, 6, 8, 0, 0, 0, time.UTC),
	}
	for name := range strings.FieldsSeq("Ana Ben Carla Dario Elif Femi Greta Hana Igor Jun Kofi Lena Marek Nia Olga Pavel Quinn Rosa Sven Tala Umar Vera Wen Yara ci-deploy ci-release") {
		id := h.uuid()
		h.actors = append(h.actors, domain.Actor{Kind: "token", ID: id, Name: name, Token: id})
	}
	return h
}

func (h *history) uuid() string {
	id, err := uuid.NewRandomFromReader(h.bytes)
	if err != nil {
		panic(err) // the source never ends
	}
	return id.String()
}

func (h *history) number() int32 {
	h.last++
	return h.last
}

// often draws a number below n, the small ones more often.
func (h *history) often(n int) int {
	f := h.random.Float64()
	return int(float64(n) * f * f)
}

func pickOf[T any](h *history, list []T) T { return list[h.random.IntN(len(list))] }

// commits makes the first n commits: those that set the project up, and then changes.
func (h *history) commits(n int) iter.Seq[domain.Commit] {
	return func(yield func(domain.Commit) bool) {
		made := 0
		for opening := range h.opening {
			if made++; made > n || !yield(h.commit("set up the shop", opening...)) {
				return
			}
		}
		for ; made < n; made++ {
			events := h.change()
			if !yield(h.commit(h.reason(), events...)) {
				return
			}
		}
	}
}

// commit is the one of the events, by somebody, some time after the last one.
func (h *history) commit(reason string, events ...domain.Event) domain.Commit {
	h.time = h.time.Add(time.Duration(h.random.IntN(60_000)) * time.Millisecond)
	c := domain.Commit{
		ID: h.uuid(), Project: h.project.ID, Time: h.time, Actor: h.actors[h.often(len(h.actors))], Source: domain.SourceAPI, Reason: reason,
		Client: domain.Client{IP: fmt.Sprintf("10.0.%d.%d", h.random.IntN(4), h.random.IntN(256)), UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", RequestID: h.uuid()},
		Events: events,
	}
	c.CorrelationID = c.ID
	if strings.HasPrefix(c.Actor.Name, "ci-") {
		c.Source, c.CorrelationID = domain.SourceCLI, h.uuid()
	}
	if h.random.IntN(5) < 3 {
		c.Ticket = fmt.Sprintf("SHOP-%d", 1000+h.random.IntN(20_000))
	}
	h.project, _ = h.project.Evolve(events, domain.Stamp{Position: h.project.Position + 1, Time: h.time})
	return c
}

// reason is a sentence; one in some thousands has a word that is seldom seen.
func (h *history) reason() string {
	words := []string{
		pickOf(h, strings.Fields("enable disable widen narrow test ramp prepare fix revert align tune release")),
		pickOf(h, madeAreas), "for", pickOf(h, strings.Fields("customers partners testers staff everybody newcomers subscribers")),
		pickOf(h, strings.Fields("because before after during despite following")), "the",
		pickOf(h, strings.Fields("launch campaign outage review experiment migration audit holiday weekend complaint measurement meeting")),
	}
	if h.random.IntN(4000) == 0 {
		words = append(words, "incident", fmt.Sprintf("inc%d", h.random.IntN(100)))
	}
	return strings.Join(words, " ")
}

var (
	madeAreas  = strings.Fields("checkout search cart catalog payment shipping account login profile reviews wishlist coupons pricing stock returns support mail banner home mobile")
	madeThings = strings.Fields("redesign button cache limit hints layout retry tracking preview export import theme autofill ranking fallback")
	madePlans  = strings.Fields("free pro team enterprise trial")
	madePlaces = strings.Fields("us ca mx br uk de fr es it pl se no jp kr in au nz za ng eg")
)

func madeEnvironment(i int) string {
	return cmp.Or(map[int]string{0: "production", 1: "staging", 2: "development"}[i], fmt.Sprintf("preview-%02d", i))
}

func madeFeature(i int) string {
	return madeAreas[i%len(madeAreas)] + "_" + madeThings[i/len(madeAreas)%len(madeThings)]
}

func madeSegment(i int) string {
	return madePlaces[i%len(madePlaces)] + "_" + madePlans[i/len(madePlaces)%len(madePlans)]
}

// opening gives the events of each commit that sets the project up.
func (h *history) opening(yield func([]domain.Event) bool) {
	if !yield([]domain.Event{domain.ProjectCreated{Key: "shop", Name: "Shop", ProjectSettings: domain.ProjectSettings{PersistTraits: true}}}) {
		return
	}
	for i := range h.environments {
		key := madeEnvironment(i)
		e := domain.EnvironmentCreated{ID: h.number(), Key: key, Name: key, ClientKey: "shop-" + key, EnvironmentSettings: domain.DefaultEnvironmentSettings()}
		if !yield([]domain.Event{e}) {
			return
		}
	}
	for i := range madeSegments {
		rules, last := domain.NumberNodes(nil, h.rules(), 0)
		if !yield([]domain.Event{domain.SegmentCreated{ID: h.number(), Key: madeSegment(i), Revision: 1, Name: madeSegment(i), Rules: rules, LastNode: last}}) {
			return
		}
	}
	for i := range madeFeatures {
		if !yield([]domain.Event{h.feature(i)}) {
			return
		}
	}
	for env := range h.environments {
		var events []domain.Event
		for i := range madeOverridden {
			for place := range 1 + h.random.IntN(3) {
				f := h.project.Features.Get(madeFeature(i * 5))
				events = append(events, domain.SegmentOverrideSet{
					Environment: madeEnvironment(env), Feature: f.Key, Segment: madeSegment(i + 30*place), Seed: h.number(), Place: place,
					Enabled: h.random.IntN(2) == 0, Value: h.value(f), Weights: h.weights(f),
				})
			}
		}
		if !yield(events) {
			return
		}
	}
}

// feature makes one: of six, three are switches, two have texts, one has variants.
func (h *history) feature(i int) domain.FeatureCreated {
	e := domain.FeatureCreated{
		ID: h.number(), Key: madeFeature(i), Seeds: map[string]int32{},
		FeatureAttributes: domain.FeatureAttributes{Description: "The " + strings.ReplaceAll(madeFeature(i), "_", " "), Kind: domain.Release, Owners: []string{pickOf(h, h.actors).Name}, Tags: []string{madeAreas[i%len(madeAreas)]}},
	}
	switch i % 6 {
	case 1, 3:
		e.InitialValue = evaluation.String("v0")
	case 5:
		for _, key := range []string{"plain", "bold", "quiet"} {
			e.Variants = append(e.Variants, domain.Variant{ID: h.number(), Key: key, Value: evaluation.String(key), Weight: 10})
		}
		e.InitialValue = evaluation.String("off")
	}
	for env := range h.project.Environments.All() {
		e.Seeds[env] = h.number()
	}
	return e
}

func (h *history) value(f *domain.Feature) evaluation.Value {
	if f.InitialValue.IsNull() {
		return f.InitialValue
	}
	return evaluation.String(fmt.Sprintf("v%d", h.random.IntN(1_000_000)))
}

func (h *history) weights(f *domain.Feature) map[string]float64 {
	if len(f.Variants) == 0 {
		return nil
	}
	w := map[string]float64{}
	for _, v := range f.Variants {
		w[v.Key] = float64(h.random.IntN(333)) / 10
	}
	return w
}

func (h *history) rules() []evaluation.Rule {
	rule := evaluation.Rule{Type: evaluation.All}
	for range 1 + h.random.IntN(5) {
		rule.Conditions = append(rule.Conditions, h.condition())
	}
	return []evaluation.Rule{rule}
}

func (h *history) condition() evaluation.Condition {
	switch h.random.IntN(6) {
	case 0:
		return evaluation.Condition{Property: "country", Operator: evaluation.Equal, Value: strings.ToUpper(pickOf(h, madePlaces))}
	case 1:
		in := make([]string, 20)
		for i := range in {
			in[i] = fmt.Sprintf("store-%d", h.random.IntN(2000))
		}
		return evaluation.Condition{Property: "store", Operator: evaluation.In, Value: strings.Join(in, ",")}
	case 2:
		return evaluation.Condition{Property: "email", Operator: evaluation.Contains, Value: "@" + pickOf(h, madeAreas) + ".example"}
	case 3:
		return evaluation.Condition{Property: "version", Operator: evaluation.GreaterThanInclusive, Value: fmt.Sprintf("%d.%d.0:semver", h.random.IntN(5), h.random.IntN(20))}
	case 4:
		return evaluation.Condition{Operator: evaluation.PercentageSplit, Value: fmt.Sprint(1 + h.random.IntN(99))}
	}
	return evaluation.Condition{Property: "orders", Operator: evaluation.GreaterThan, Value: fmt.Sprint(h.random.IntN(500))}
}

// change makes the events of the next commit, which change something.
func (h *history) change() []domain.Event {
	env := h.project.Environments.Get(madeEnvironment(h.often(h.environments)))
	f := h.project.Features.Get(madeFeature(h.often(madeFeatures)))
	switch n := h.random.IntN(1000); {
	case n < 690:
		return []domain.Event{h.state(env, f)}
	case n < 700: // a release
		var events []domain.Event
		for _, i := range h.random.Perm(madeFeatures)[:5+h.random.IntN(15)] {
			events = append(events, h.state(env, h.project.Features.Get(madeFeature(i))))
		}
		return events
	case n < 850:
		return []domain.Event{h.override(env)}
	case n < 900:
		return []domain.Event{h.edit(h.project.Segments.Get(madeSegment(h.often(madeSegments))))}
	case n < 950:
		return []domain.Event{h.order(env)}
	case n < 990:
		return []domain.Event{h.person(env, f)}
	case n < 995:
		e := domain.FeatureUpdated{Feature: f.Key, FeatureAttributes: f.Attributes()}
		e.Description, e.Tags = h.reason(), []string{pickOf(h, madeAreas)}
		return []domain.Event{e}
	case n < 998:
		s := h.project.Segments.Get(madeSegment(h.often(madeSegments)))
		return []domain.Event{domain.SegmentUpdated{Segment: s.Key, Name: s.Name, Description: h.reason()}}
	}
	f = h.project.Features.Get(madeFeature(5 + 6*h.random.IntN(madeFeatures/6))) // one with variants
	variants := slices.Clone(f.Variants)
	variants[h.random.IntN(len(variants))].Value = evaluation.String(fmt.Sprintf("text %d", h.random.IntN(1_000_000)))
	return []domain.Event{domain.FeatureVariantsSet{Feature: f.Key, Variants: variants}}
}

func (h *history) state(env *domain.Environment, f *domain.Feature) domain.Event {
	now := env.States.Get(f.Key)
	e := domain.FeatureStateSet{Environment: env.Key, Feature: f.Key, Enabled: !now.Enabled, Value: now.Value, Weights: now.Weights}
	if h.random.IntN(2) == 0 {
		e.Value, e.Weights = h.value(f), h.weights(f)
	}
	return e
}

// overridden draws a feature of the environment with at least so many overrides.
func (h *history) overridden(env *domain.Environment, least int) (*domain.Feature, *domain.SegmentOverrides) {
	for {
		f := h.project.Features.Get(madeFeature(h.random.IntN(madeOverridden) * 5))
		if o := env.Overrides.Get(f.Key); len(o.Order()) >= least {
			return f, o
		}
	}
}

// override changes, adds or removes a segment override.
func (h *history) override(env *domain.Environment) domain.Event {
	f, o := h.overridden(env, 0)
	segments := o.Order()
	switch n := h.random.IntN(10); {
	case n == 0 && len(segments) > 1:
		return domain.SegmentOverrideRemoved{Environment: env.Key, Feature: f.Key, Segment: pickOf(h, segments)}
	case n <= 1 && len(segments) < 4 || len(segments) == 0:
		segment := madeSegment(h.random.IntN(madeSegments))
		if i, _ := o.Find(segment); i < 0 {
			seed := int32(0)
			if o != nil {
				seed = o.Seeds[segment]
			}
			if seed == 0 {
				seed = h.number()
			}
			return domain.SegmentOverrideSet{Environment: env.Key, Feature: f.Key, Segment: segment, Seed: seed, Enabled: true, Value: h.value(f), Weights: h.weights(f)}
		}
	}
	place := h.random.IntN(len(segments))
	is := o.List[place]
	return domain.SegmentOverrideSet{Environment: env.Key, Feature: f.Key, Segment: is.Segment, Seed: is.Seed, Place: place, Enabled: !is.Enabled, Value: h.value(f), Weights: h.weights(f)}
}

func (h *history) order(env *domain.Environment) domain.Event {
	f, o := h.overridden(env, 2)
	order := o.Order()
	slices.Reverse(order)
	return domain.SegmentOverridesReordered{Environment: env.Key, Feature: f.Key, Order: order}
}

// edit changes a condition of a segment, adds one, or removes one.
func (h *history) edit(s *domain.Segment) domain.Event {
	rules := slices.Clone(s.Rules)
	conditions := slices.Clone(rules[0].Conditions)
	i := h.random.IntN(len(conditions))
	switch n := h.random.IntN(4); {
	case n == 0 && len(conditions) < 6:
		conditions = append(conditions, h.condition())
	case n == 1 && len(conditions) > 1:
		conditions = slices.Delete(conditions, i, i+1)
	default:
		id := conditions[i].ID
		conditions[i] = h.condition()
		conditions[i].ID = id
	}
	rules[0].Conditions = conditions
	numbered, last := domain.NumberNodes(s.Rules, rules, s.LastNode)
	return domain.SegmentRulesSet{Segment: s.Key, Revision: s.Revision + 1, Rules: numbered, LastNode: last}
}

// person sets or removes an override of one identity.
func (h *history) person(env *domain.Environment, f *domain.Feature) domain.Event {
	surrogate := uuid.NewSHA1(uuid.NameSpaceOID, fmt.Append(nil, env.ID, "/", h.random.IntN(madePersons))).String()
	i, is := env.Identities.Get(surrogate).Find(f.Key)
	if i >= 0 && h.random.IntN(2) == 0 {
		return domain.IdentityOverrideRemoved{Environment: env.Key, Identity: surrogate, Feature: f.Key}
	}
	return domain.IdentityOverrideSet{Environment: env.Key, Identity: surrogate, Feature: f.Key, Enabled: !is.Enabled, Value: h.value(f)}
}

// writeLog fills the log of a data directory, as commits recorded one by one would have, but without waiting for the disk each time. They lack
// the header by which NATS knows a commit again for ten minutes, or it would hold all of them in memory, as it does at no real rate.
func writeLog(tb testing.TB, dir string, commits iter.Seq[domain.Commit]) {
	tb.Helper()
	store, err := eventstore.Open(tb.Context(), eventstore.Options{Dir: dir}) // creates the stream
	if err != nil {
		tb.Fatal(err)
	}
	if err := errors.Join(identities.CreateStreams(tb.Context(), store.JetStream(), 1), store.Close()); err != nil { // there before the first commit
		tb.Fatal(err)
	}
	fast, err := server.NewServer(&server.Options{ServerName: "flagledger", DontListen: true, NoSigs: true, MaxPayload: eventstore.MaxPayload, JetStream: true, StoreDir: filepath.Join(dir, "nats")})
	if err != nil {
		tb.Fatal(err)
	}
	fast.Start()
	defer fast.WaitForShutdown()
	defer fast.Shutdown()
	if !fast.ReadyForConnections(patience) {
		tb.Fatal("NATS does not start")
	}
	if err := publish(tb.Context(), fast, commits); err != nil {
		tb.Fatal(err)
	}
}

func publish(ctx context.Context, to *server.Server, commits iter.Seq[domain.Commit]) error {
	nc, err := nats.Connect("", nats.InProcessServer(to))
	if err != nil {
		return err
	}
	defer nc.Close()
	var failed error
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(1000), jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, _ *nats.Msg, err error) {
		failed = errors.Join(failed, err)
	}))
	if err != nil {
		return err
	}
	for c := range commits {
		payload, err := json.Marshal(c)
		if err != nil {
			return err
		}
		header := nats.Header{"ce-specversion": {"1.0"}, "ce-type": {"flagledger.commit.v1"}, "ce-id": {c.ID}, "ce-time": {c.Time.Format(time.RFC3339Nano)}, "ce-correlationid": {c.CorrelationID}}
		if _, err := js.PublishMsgAsync(&nats.Msg{Subject: strings.TrimSuffix(eventstore.Subjects, "*") + c.Project, Header: header, Data: payload}, jetstream.WithStallWait(patience)); err != nil {
			return err
		}
	}
	select {
	case <-js.PublishAsyncComplete():
		return failed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// The made-up history is the same every time, has what the measurements look for, and each of its commits leads to a state without loose ends.
func TestHistory(t *testing.T) {
	const commits = 3000
	a, b := newHistory(5), newHistory(5)
	next, stop := iter.Pull(b.commits(commits))
	defer stop()
	types := map[string]int{}
	before := a.project
	position := 0
	for c := range a.commits(commits) {
		position++
		again, _ := next()
		one, err := json.Marshal(c)
		other, errAgain := json.Marshal(again)
		if err != nil || errAgain != nil || string(one) != string(other) {
			t.Fatalf("commit %d is %s and another time %s (%v, %v)", position, one, other, err, errAgain)
		}
		after, objects := before.Evolve(c.Events, domain.Stamp{Position: uint64(position), Time: c.Time})
		if err := after.CheckReferences(objects); err != nil {
			t.Fatalf("commit %d, %s: %v", position, one, err)
		}
		for _, e := range c.Events {
			types[e.EventType()]++
		}
		before = after
	}
	p := a.project
	if p.Environments.Len() != 5 || p.Features.Len() != madeFeatures || p.Segments.Len() != madeSegments || position != commits {
		t.Errorf("%d commits made %d environments, %d features, %d segments", position, p.Environments.Len(), p.Features.Len(), p.Segments.Len())
	}
	for _, kind := range []string{
		"feature_state.set.v1", "segment_override.set.v1", "segment_override.removed.v1", "segment_overrides.reordered.v1", "segment.rules_set.v1",
		"segment.updated.v1", "feature.updated.v1", "feature.variants_set.v1", "identity_override.set.v1",
	} {
		if types[kind] == 0 {
			t.Errorf("there is no %s among %v", kind, slices.Sorted(maps.Keys(types)))
		}
	}
}
