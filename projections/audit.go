package projections

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
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
	// Affects is a feature: changes of what it evaluates to in Environment.
	Affects   string
	affectsIn int32  // number of that environment
	Below     uint64 // position; 0: from the newest
	Limit     int
	// Visible decides what the asker may see, by project and environment (empty
	// for what belongs to the whole project); nil: all. Changes that are not
	// visible are left out, and so are entries without any that is.
	Visible func(project, environment string) bool
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
	if rec.CorrelationID != rec.ID {
		add("correlation", rec.CorrelationID)
	}
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
		if o.Environment != "" {
			add("environment", rec.Project, o.Environment)
		}
		switch o.Kind {
		case domain.KindFeatureState, domain.KindSegmentOverrides, domain.KindVariantsPin:
			about(domain.Object{Kind: domain.KindFeature, Key: o.Key})
		case domain.KindFeatureTests:
			about(domain.Object{Kind: domain.KindFeature, Key: o.Key})
		case domain.KindSegmentPin, domain.KindSegmentTests:
			about(domain.Object{Kind: domain.KindSegment, Key: o.Key})
		case domain.KindEnvironment:
			add("environment", rec.Project, o.Key)
		}
	}
	for env := range record.Versions {
		add("environment", rec.Project, env)
		for _, feature := range domain.AffectedFeatures(before, after, env, objects) {
			add("affects", rec.Project, env, feature)
		}
	}
	for word := range words(rec.Reason) {
		add("reason", word)
	}
	left := maxWords
	for _, text := range []string{rec.Reason, rec.Ticket, rec.Actor.Name, valuesOf(eventsOf(rec.Raw))} {
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

// terms are those that all entries of the query must have.
func (q AuditQuery) terms() []string {
	var terms []string
	add := func(kind, value string, before ...string) {
		if value != "" {
			terms = append(terms, string(appendTerm(nil, kind, append(before, value)...)))
		}
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
// on below, 0 at the end.
func (v *Views) Audit(q AuditQuery) (entries []Entry, next uint64, err error) {
	if q.Affects != "" {
		env := v.Project(q.Project).Environments.Get(q.Environment)
		if env == nil {
			return nil, 0, domain.RefuseField(domain.NotFound, "environment", "there is no environment %q", q.Environment)
		}
		q.affectsIn = env.ID
	}
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
			if position < first {
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
	return entries, next, err
}

// AuditEntry returns the entry of one commit, with the changes that may be seen
// (nil: all); see AuditQuery.Visible.
func (v *Views) AuditEntry(position uint64, visible func(project, environment string) bool) (Entry, error) {
	var entry *Entry
	err := v.view(func(tx *bbolt.Tx) error {
		if tx.Bucket(bucketCommits).Get(bigEndian(position)) == nil {
			return domain.Refuse(domain.NotFound, "there is no commit at position %d; the newest is %d", position, v.Position())
		}
		var err error
		entry, err = v.readEntry(tx, position, AuditQuery{Visible: visible})
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
	commit, err := domain.DecodeCommit(raw, v.upcast)
	if err != nil {
		return nil, fmt.Errorf("read commit %d: %w", position, err)
	}
	entry := &Entry{
		Position: position, RecordedAt: at, Project: record.Project, Commit: commit, Versions: record.Versions,
	}
	c := tx.Bucket(bucketHistory).Cursor()
	for _, ref := range record.Objects {
		o, err := domain.ParseObject(ref.Object)
		if err != nil {
			return nil, fmt.Errorf("read commit %d: %w", position, err)
		}
		if q.Visible != nil && !q.Visible(record.Project, o.Scope()) {
			continue
		}
		key := objectKey(EnvironmentID{commit.Project, ref.Environment}, o)
		change := Change{Object: o, EnvironmentID: ref.Environment}
		change.Before = present(seekAt(c, key, position-1))
		change.After = present(seekAt(c, key, position))
		entry.Changes = append(entry.Changes, change)
	}
	if q.Visible != nil && len(entry.Changes) == 0 {
		return nil, nil
	}
	if q.Visible != nil {
		entry.Commit.Events = slices.DeleteFunc(entry.Commit.Events, func(e domain.Event) bool {
			return !slices.ContainsFunc(e.Objects(&domain.Project{}), func(o domain.Object) bool { return q.Visible(record.Project, o.Scope()) })
		})
		maps.DeleteFunc(entry.Versions, func(environment string, _ uint64) bool { return !q.Visible(record.Project, environment) })
	}
	if q.Affects != "" {
		entry.Effective, err = effectiveChange(tx, EnvironmentID{commit.Project, q.affectsIn}, q.Affects, position, record.Objects)
		if err != nil || entry.Effective == nil {
			return nil, err
		}
	}
	return entry, nil
}

func present(image []byte) json.RawMessage {
	if len(image) == 0 {
		return nil
	}
	return bytes.Clone(image)
}

// PastChanges returns what the selected commits of a project did, newest first.
func (v *Views) PastChanges(project string, s domain.Selection) ([]domain.PastChange, error) {
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
		var err error
		entries, _, err = v.Audit(AuditQuery{
			Project: project, Actor: s.Actor, ChangeRequest: s.ChangeRequest, Correlation: s.CorrelationID, From: s.From, To: s.To, Limit: math.MaxInt,
		})
		if err != nil {
			return nil, err
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
