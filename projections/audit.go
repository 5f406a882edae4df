package projections

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"flagledger/domain"
)

// An Entry is what the audit tells of one commit.
type Entry struct {
	Position   uint64
	RecordedAt time.Time
	Project    string // key at that time, empty for the organisation
	Commit     domain.Commit
	Versions   map[string]uint64 // by environment: the version it led to
	Changes    []Change
	// Effective is what the feature that the query named evaluated to before
	// and after; nil without.
	Effective *EffectiveChange
	values    string // of the events, where some are hidden
}

// EffectiveChange is all that a feature's evaluation depends on, before and after.
type EffectiveChange struct {
	Before json.RawMessage `json:"before"`
	After  json.RawMessage `json:"after"`
}

// A Change is what a commit did to one object.
type Change struct {
	Object domain.Object
	// EnvironmentID is that of the object's environment, 0 without.
	EnvironmentID int32
	Before, After json.RawMessage // nil where the object did not exist
}

// AuditQuery selects entries. Empty fields select all.
type AuditQuery struct {
	Project     string        // id
	Environment string        // key; with Project
	Object      domain.Object // also matches what is about a feature or segment; see domain.ParseObjects
	Actor       string        // id
	ActorKind   string
	Type        string // of event
	Source      domain.Source
	Client      string // program by which it was asked for; see Program
	Ticket      string
	// ChangeRequest and Correlation are ids.
	ChangeRequest, Correlation string
	From, To                   time.Time // recorded at; From inclusive, To exclusive
	// Text are words, ignoring case, that must all stand in the reason, the
	// ticket, the actor's name or the names and values that were recorded.
	Text string
	// Reason are words that must all stand in the reason.
	Reason string
	// Affects is a feature: changes of what it evaluates to in Environment, also
	// in those that had the key before.
	Affects string
	Below   uint64 // position; 0: from the newest
	Limit   int
	// Scopes are what the asker may see. Changes of anything else are left out, and
	// so are entries without any other, and those of which only that matches which
	// may not be seen.
	Scopes Scopes
}

// noteTerms notes the words under which a commit is found.
func (b *batch) noteTerms(rec domain.Recorded, record commitRecord, before, after *domain.Project, objects []domain.Object) {
	add := func(kind string, values ...string) bool { return b.note(rec.Position, kind, values...) }
	about := func(o domain.Object) {
		if !add("object", rec.Project, o.String()) {
			return
		}
		for _, group := range b.groupsOf(o) {
			add("object", rec.Project, group)
		}
	}
	add("project", rec.Project)
	add("actor", rec.Actor.ID)
	add("actor-kind", rec.Actor.Kind)
	add("source", string(rec.Source))
	if name := Program(rec.Client.UserAgent); name != "" {
		add("client", name)
	}
	if rec.Ticket != "" {
		add("ticket", rec.Ticket)
	}
	if rec.ChangeRequest != "" {
		add("change-request", rec.ChangeRequest)
	}
	add("correlation", rec.CorrelationID) // that of the first of an undertaking is its own id
	for _, e := range rec.Events {
		add("type", e.EventType())
		for _, o := range related(e) {
			about(o)
		}
	}
	for _, ref := range record.Objects {
		o, err := domain.ParseObject(ref.Object)
		if err != nil {
			continue // written by us a moment ago: every object can be parsed
		}
		about(o)
		if whole := wholeOf(o); whole.Kind != "" {
			about(whole)
		}
		add("environment", rec.Project, o.Scope()) // "" for what the project as a whole owns
	}
	for env, features := range domain.AffectedByContexts(before, after, objects) {
		add("environment", rec.Project, env)
		for _, feature := range features {
			add("affects", rec.Project, env, feature)
		}
	}
	for env := range record.Versions {
		add("environment", rec.Project, env)
		for _, feature := range domain.AffectedFeatures(before, after, env, objects) {
			add("affects", rec.Project, env, feature)
		}
	}
	left := maxWords
	for word := range words(rec.Reason) {
		add("reason", word)
		if left > 0 && add("word", word) {
			left--
		}
	}
	for _, text := range []string{rec.Ticket, rec.Actor.Name, valuesOf(eventsOf(rec.Raw))} {
		for word := range words(text) {
			if left == 0 {
				return
			}
			if add("word", word) {
				left--
			}
		}
	}
}

// groupsOf are the names of the groups of an object, made once for all that are
// in the same ones.
func (b *batch) groupsOf(o domain.Object) []string {
	o.Key = ""
	names, known := b.groups[o]
	if !known {
		for _, group := range o.Groups() {
			names = append(names, group.String())
		}
		b.groups[o] = names
	}
	return names
}

// Program is the name of the program in a user agent: "curl" in "curl/8.5.0".
func Program(userAgent string) string {
	if end := strings.IndexAny(userAgent, "/ "); end >= 0 {
		userAgent = userAgent[:end]
	}
	return strings.ToValidUTF8(userAgent[:min(len(userAgent), maxWordLen)], "")
}

// eventsOf is the part of a recorded commit that holds its events.
func eventsOf(raw []byte) []byte {
	if i := bytes.Index(raw, []byte(`"events":`)); i >= 0 {
		return raw[i:]
	}
	return nil
}

// wholeOf is the feature or segment that an object is a part of.
func wholeOf(o domain.Object) domain.Object {
	switch o.Kind {
	case domain.KindFeatureState, domain.KindSegmentOverrides, domain.KindVariantsPin, domain.KindFeatureTests:
		return domain.Object{Kind: domain.KindFeature, Key: o.Key}
	case domain.KindSegmentPin, domain.KindSegmentTests:
		return domain.Object{Kind: domain.KindSegment, Key: o.Key}
	}
	return domain.Object{}
}

// related are the objects that an event is about beside those it changes.
func related(e domain.Event) []domain.Object {
	switch e := e.(type) {
	case domain.SegmentOverrideSet:
		return []domain.Object{{Kind: domain.KindSegment, Key: e.Segment}}
	case domain.SegmentOverrideRemoved:
		return []domain.Object{{Kind: domain.KindSegment, Key: e.Segment}}
	case domain.IdentityOverrideSet:
		return []domain.Object{{Kind: domain.KindFeature, Key: e.Feature}}
	case domain.IdentityOverrideRemoved:
		return []domain.Object{{Kind: domain.KindFeature, Key: e.Feature}}
	}
	return nil
}

// appendTerm appends a word of the index. Keys are what they are; everything
// else is found whatever its case.
func appendTerm(to []byte, kind string, values ...string) []byte {
	to = append(to, kind...)
	for _, value := range values {
		if kind != "object" && kind != "environment" && kind != "affects" {
			value = strings.ToLower(value)
		}
		to = append(append(to, '\x1f'), value...)
	}
	return to
}

// terms are lists of which all entries of the query must have one term each.
func (q AuditQuery) terms() [][]string {
	var terms [][]string
	add := func(kind, value string, before ...string) {
		if value != "" {
			terms = append(terms, []string{string(appendTerm(nil, kind, append(before, value)...))})
		}
	}
	if q.Scopes != nil {
		terms = append(terms, q.Scopes.terms())
	}
	add("project", q.Project)
	add("environment", q.Environment, q.Project)
	if q.Object.Kind != "" {
		add("object", q.Object.String(), q.Project)
	}
	add("actor", q.Actor)
	add("actor-kind", q.ActorKind)
	add("type", q.Type)
	add("source", string(q.Source))
	add("client", q.Client)
	add("ticket", q.Ticket)
	add("change-request", q.ChangeRequest)
	add("correlation", q.Correlation)
	add("affects", q.Affects, q.Project, q.Environment)
	for word := range words(q.Reason) {
		add("reason", word)
	}
	for word := range words(q.Text) {
		add("word", word)
	}
	return terms
}

// Audit returns the entries that match, newest first, and the position to ask
// on below, 0 at the end. It gives up when the context ends.
func (v *Views) Audit(ctx context.Context, q AuditQuery) (entries []Entry, next uint64, err error) {
	below := v.Position() + 1
	if q.Below > 0 {
		below = min(below, q.Below)
	}
	if !q.To.IsZero() {
		last, err := v.PositionAt(q.To.Add(-time.Nanosecond))
		if err != nil {
			return nil, 0, err
		}
		below = min(below, last+1)
	}
	first := uint64(1)
	if !q.From.IsZero() {
		last, err := v.PositionAt(q.From.Add(-time.Nanosecond))
		if err != nil {
			return nil, 0, err
		}
		first = last + 1
	}
	err = v.view(func(tx *bbolt.Tx) error {
		for position := range intersect(tx, q.terms(), below) {
			if position < first || ctx.Err() != nil {
				return nil
			}
			if len(entries) >= q.Limit {
				if next = below; len(entries) > 0 {
					next = entries[len(entries)-1].Position
				}
				return nil
			}
			entry, err := v.readEntry(tx, position, q)
			if err != nil {
				return err
			}
			if entry != nil {
				entries = append(entries, *entry)
			}
		}
		return nil
	})
	if gone := ctx.Err(); err == nil && gone != nil { // not from within, where an error looks like damage
		err = fmt.Errorf("read the audit: %w", gone)
	}
	if err != nil {
		return nil, 0, err
	}
	return entries, next, nil
}

// AuditEntry returns the entry of one commit, with the changes that may be seen.
func (v *Views) AuditEntry(position uint64, scopes Scopes) (Entry, error) {
	var entry *Entry
	err := v.view(func(tx *bbolt.Tx) error {
		if tx.Bucket(bucketCommits).Get(bigEndian(position)) == nil {
			return domain.Refuse(domain.NotFound, "there is no commit at position %d; the newest is %d", position, v.Position())
		}
		var err error
		entry, err = v.readEntry(tx, position, AuditQuery{Scopes: scopes})
		if entry == nil && err == nil {
			err = domain.Refuse(domain.NotFound, "there is no commit at position %d that may be seen", position)
		}
		return err
	})
	if err != nil {
		return Entry{}, err
	}
	return *entry, nil
}

// Commit returns who made the commit at the position, when and why, without its
// events: far cheaper than its entry.
func (v *Views) Commit(position uint64) (rec domain.Recorded, err error) {
	err = v.view(func(tx *bbolt.Tx) error {
		value := tx.Bucket(bucketCommits).Get(bigEndian(position))
		if value == nil {
			return fmt.Errorf("commit %d is missing from the views", position)
		}
		at, _, raw := parseCommit(value)
		rec.Position, rec.RecordedAt = position, at
		if err := json.Unmarshal(raw, &rec.Commit); err != nil {
			return fmt.Errorf("read commit %d: %w", position, err)
		}
		return nil
	})
	return rec, err
}

// readEntry reads the entry at the position, nil where the query leaves it out.
func (v *Views) readEntry(tx *bbolt.Tx, position uint64, q AuditQuery) (*Entry, error) {
	value := tx.Bucket(bucketCommits).Get(bigEndian(position))
	if value == nil {
		return nil, fmt.Errorf("commit %d is missing from the views", position)
	}
	at, stored, raw := parseCommit(value)
	var record commitRecord
	if err := json.Unmarshal(stored, &record); err != nil {
		return nil, fmt.Errorf("read commit %d: %w", position, err)
	}
	objects := make([]domain.Object, len(record.Objects))
	seen := func(o domain.Object) bool { return q.Scopes.See(record.Project, o.Scope()) }
	for i, ref := range record.Objects {
		var err error
		if objects[i], err = domain.ParseObject(ref.Object); err != nil {
			return nil, fmt.Errorf("read commit %d: %w", position, err)
		}
	}
	if q.Scopes != nil && !slices.ContainsFunc(objects, seen) {
		return nil, nil
	}
	commit, err := domain.DecodeCommit(raw, v.upcast)
	if err != nil {
		return nil, fmt.Errorf("read commit %d: %w", position, err)
	}
	entry := &Entry{
		Position: position, RecordedAt: at, Project: record.Project, Commit: commit, Versions: record.Versions,
	}
	c := tx.Bucket(bucketHistory).Cursor()
	for i, ref := range record.Objects {
		o := objects[i]
		if !seen(o) {
			continue
		}
		key := objectKey(EnvironmentID{commit.Project, ref.Environment}, o)
		change := Change{Object: o, EnvironmentID: ref.Environment}
		change.Before = present(seekAt(c, key, position-1))
		change.After = present(seekAt(c, key, position))
		entry.Changes = append(entry.Changes, change)
	}
	if len(entry.Changes) < len(objects) {
		if err := entry.hide(raw, seen); err != nil || !q.finds(entry) {
			return nil, err
		}
		maps.DeleteFunc(entry.Versions, func(environment string, _ uint64) bool { return !q.Scopes.See(record.Project, environment) })
	}
	if q.Affects != "" {
		var env *domain.Environment
		if env, _, err = environmentAt(tx, commit.Project, q.Environment, position); err != nil || env == nil {
			return nil, err
		}
		entry.Effective, err = effectiveChange(tx, EnvironmentID{commit.Project, env.ID}, q.Affects, position, record)
		if err != nil || entry.Effective == nil {
			return nil, err
		}
	}
	return entry, nil
}

// hide leaves out the events that are about nothing that may be seen.
func (e *Entry) hide(raw []byte, seen func(domain.Object) bool) error {
	var recorded struct{ Events []json.RawMessage }
	if err := json.Unmarshal(raw, &recorded); err != nil {
		return fmt.Errorf("read the events of commit %d: %w", e.Position, err)
	}
	var events []domain.Event
	for i, event := range e.Commit.Events {
		if slices.ContainsFunc(event.Objects(&domain.Project{}), seen) {
			events = append(events, event)
			e.values += valuesOf(recorded.Events[i]) + " "
		}
	}
	e.Commit.Events = events
	return nil
}

// finds tells whether the query finds the entry by what is left of it, as the
// index found it by all that there is. What else a query asks for is either of
// the commit as a whole, or of an environment that may be seen.
func (q AuditQuery) finds(e *Entry) bool {
	is := func(o domain.Object) bool { return o == q.Object || slices.Contains(o.Groups(), q.Object) }
	about := q.Object.Kind == "" || slices.ContainsFunc(e.Changes, func(c Change) bool { return is(c.Object) || is(wholeOf(c.Object)) })
	typed := q.Type == ""
	for _, event := range e.Commit.Events {
		about = about || slices.ContainsFunc(related(event), is)
		typed = typed || strings.EqualFold(event.EventType(), q.Type)
	}
	if !about || !typed || q.Text == "" {
		return about && typed
	}
	said := map[string]bool{}
	for word := range words(strings.Join([]string{e.Commit.Reason, e.Commit.Ticket, e.Commit.Actor.Name, e.values}, "\n")) {
		said[word] = true
	}
	for word := range words(q.Text) {
		if !said[word] {
			return false
		}
	}
	return true
}

func present(image []byte) json.RawMessage {
	if len(image) == 0 {
		return nil
	}
	return bytes.Clone(image)
}

// maxSelected is how many commits may be selected at once, whose images are all
// in memory then.
const maxSelected = 10_000

// PastChanges returns what the selected commits of a project did, newest first.
func (v *Views) PastChanges(ctx context.Context, project string, s domain.Selection) ([]domain.PastChange, error) {
	var entries []Entry
	if s.Position > 0 {
		e, err := v.AuditEntry(s.Position, nil)
		if err != nil {
			return nil, err
		}
		if e.Commit.Project != project {
			return nil, domain.Refuse(domain.NotFound, "the commit at position %d is not one of this project", s.Position)
		}
		entries = []Entry{e}
	} else {
		var next uint64
		var err error
		entries, next, err = v.Audit(ctx, AuditQuery{
			Project: project, Actor: s.Actor, ChangeRequest: s.ChangeRequest, Correlation: s.CorrelationID, From: s.From, To: s.To, Limit: maxSelected,
		})
		if err != nil {
			return nil, err
		}
		if next > 0 {
			first := entries[len(entries)-1].RecordedAt
			return nil, domain.RefuseField(domain.LimitReached, "from", "more than %d commits are selected; select them by time as well, the newest first: from %s on", maxSelected, first.Add(1).UTC().Format(time.RFC3339Nano))
		}
	}
	var changes []domain.PastChange
	for _, e := range entries {
		for _, c := range e.Changes {
			changes = append(changes, domain.PastChange{Position: e.Position, Object: c.Object, Before: c.Before, After: c.After})
		}
	}
	return changes, nil
}
