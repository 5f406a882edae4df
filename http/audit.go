package httpapi

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/projections"
)

// shownEntry is an audit entry as it is shown.
type shownEntry struct {
	Position        uint64            `json:"position"`
	RecordedAt      time.Time         `json:"recorded_at"` // the stream's clock
	Time            time.Time         `json:"time"`        // the recording process's clock
	CommitID        string            `json:"commit_id"`
	Project         string            `json:"project,omitempty"` // key
	Actor           domain.Actor      `json:"actor"`
	Client          domain.Client     `json:"client"`
	Source          domain.Source     `json:"source"`
	Reason          string            `json:"reason"`
	Ticket          string            `json:"ticket"`
	CorrelationID   string            `json:"correlation_id"`
	CausationID     string            `json:"causation_id,omitempty"`
	ChangeRequest   string            `json:"change_request,omitempty"`
	TestsOverridden bool              `json:"tests_overridden,omitempty"`
	Types           []string          `json:"types"`              // of its events
	Versions        map[string]uint64 `json:"versions,omitempty"` // of environments, that it led to
	Changes         []objectChange    `json:"changes"`
	// Effective is what the feature of the filter affects evaluated by, before and after.
	Effective *projections.EffectiveChange `json:"effective,omitempty"`
}

// objectChange is what a commit did, or would do, to one object.
type objectChange struct {
	Object      string              `json:"object"`
	Action      string              `json:"action"`             // created, changed or deleted
	Identity    string              `json:"identity,omitempty"` // behind a surrogate, unless erased
	Sentence    string              `json:"sentence"`
	Before      json.RawMessage     `json:"before"`
	After       json.RawMessage     `json:"after"`
	Differences []domain.Difference `json:"differences,omitempty"`
}

// showChange words a change. project is the id of the project.
func (s *Server) showChange(project, actor string, c projections.Change, events []domain.Event) (objectChange, error) {
	shown := objectChange{Object: c.Object.String(), Action: "changed", Before: redact(c.Before), After: redact(c.After)}
	switch {
	case c.Before == nil:
		shown.Action = "created"
	case c.After == nil:
		shown.Action = "deleted"
	}
	name := func(surrogate string) string {
		return s.nameOf(projections.EnvironmentID{Project: project, ID: c.EnvironmentID}, surrogate)
	}
	if c.Object.Kind == domain.KindIdentity {
		shown.Identity = name(c.Object.Key)
	}
	var err error
	if shown.Differences, err = domain.Diff(c.Before, c.After); err != nil {
		return shown, err
	}
	shown.Sentence, err = domain.Sentence(actor, domain.ObjectChange{
		Object: c.Object, Before: c.Before, After: c.After, Differences: shown.Differences, Events: events,
	}, name)
	return shown, err
}

// nameOf is what somebody is called in answers to those who may read the history.
func (s *Server) nameOf(id projections.EnvironmentID, surrogate string) string {
	if identifier := s.Identities.Identifier(id, surrogate); identifier != "" {
		return identifier
	}
	return "an erased person"
}

// redact leaves out the hash of a secret.
func redact(image json.RawMessage) json.RawMessage {
	var members map[string]json.RawMessage
	if !bytes.Contains(image, []byte(`"hash"`)) || json.Unmarshal(image, &members) != nil || members["hash"] == nil {
		return image
	}
	delete(members, "hash")
	clean, err := json.Marshal(members)
	if err != nil {
		return nil
	}
	return clean
}

func (r *request) showEntry(e projections.Entry) (shownEntry, error) {
	c := e.Commit
	shown := shownEntry{
		Position: e.Position, RecordedAt: e.RecordedAt, Time: c.Time, CommitID: c.ID, Project: e.Project, Actor: c.Actor, Client: c.Client,
		Source: c.Source, Reason: c.Reason, Ticket: c.Ticket, CorrelationID: c.CorrelationID, CausationID: c.CausationID,
		ChangeRequest: c.ChangeRequest, TestsOverridden: c.TestsOverridden, Versions: e.Versions, Changes: []objectChange{}, Effective: e.Effective,
	}
	for _, event := range c.Events {
		shown.Types = append(shown.Types, event.EventType())
	}
	for _, change := range e.Changes {
		if change.Before == nil && change.After == nil && change.Object.Kind != domain.KindIdentity {
			continue // came and went within the commit
		}
		one, err := r.server.showChange(c.Project, actorName(c.Actor), change, c.Events)
		if err != nil {
			return shown, err
		}
		shown.Changes = append(shown.Changes, one)
	}
	r.seesChanges(shown.Project, shown.Changes)
	return shown, nil
}

func actorName(a domain.Actor) string {
	if a.Name != "" {
		return a.Name
	}
	return a.Kind + " " + a.ID
}

// visible tells what of the history the token may see.
func (r *request) visible(project, environment string) bool {
	if r.token.Allows(domain.Audit, project, environment) {
		return true
	}
	return environment == "" && project != "" && r.auditsSomeOf(project)
}

// auditsSomeOf tells whether the token may read the history of any of the
// project's environments: then also that of what they share.
func (r *request) auditsSomeOf(project string) bool {
	for _, g := range r.token.Grants {
		one := domain.Token{Grants: []domain.Grant{g}}
		if g.Environment != "" && one.Allows(domain.Audit, project, g.Environment) {
			return true
		}
	}
	return false
}

func (s *Server) listAudit(r *request) error {
	q, err := r.auditQuery()
	if err != nil {
		return err
	}
	entries, next, err := s.Views.Audit(q)
	if err != nil {
		return err
	}
	list := page[shownEntry]{Items: []shownEntry{}}
	for _, e := range entries {
		shown, err := r.showEntry(e)
		if err != nil {
			return err
		}
		list.Items = append(list.Items, shown)
	}
	if next > 0 {
		list.Next = cursorOf(strconv.FormatUint(next, 10))
	}
	return r.show(0, list)
}

// auditFilters are the parameters of the query that auditQuery reads.
var auditFilters = []string{
	"project", "environment", "object", "affects", "actor", "actor_kind", "token", "type", "source", "client", "ticket", "reason",
	"change_request", "correlation_id", "q", "from", "to", "cursor", "limit",
}

// auditQuery reads the filters.
func (r *request) auditQuery() (projections.AuditQuery, error) {
	q := projections.AuditQuery{Visible: r.visible}
	var err error
	if q.Limit, err = r.limit(); err != nil {
		return q, err
	}
	project := r.QueryParam("project")
	if project != "" {
		if !r.visible(project, "") || r.server.Views.Project(domain.ProjectID(project)).Position == 0 {
			return q, domain.RefuseField(domain.NotFound, "project", "there is no project %q whose history this token may read", project)
		}
		q.Project = domain.ProjectID(project)
	} else if !slices.ContainsFunc(r.token.Grants, func(g domain.Grant) bool { return r.token.Allows(domain.Audit, g.Project, g.Environment) }) {
		return q, domain.Refuse(domain.Forbidden, "the token %q has no right to the history of anything", r.token.Name)
	}
	for name, values := range r.QueryParams() {
		value := values[0]
		switch name {
		case "affects":
			var o domain.Object
			if o, err = domain.ParseObject(value); err == nil && (o.Kind != domain.KindFeature || o.Key == domain.AnyKey) {
				err = domain.RefuseField(domain.Malformed, name, "%q is not one feature; write feature:key", value)
			}
			q.Affects = o.Key
		case "reason":
			q.Reason, err = wordsOf(name, value)
		case "change_request":
			q.ChangeRequest = value
		case "correlation_id":
			q.Correlation = value
		case "token":
			if actor := r.QueryParam("actor"); actor != "" && actor != value {
				err = domain.RefuseField(domain.Malformed, name, "a token is the actor of what it did: name token or actor, or the same id as both")
			}
			q.Actor = value
		case "environment":
			q.Environment = value
		case "object":
			q.Object, err = domain.ParseObjects(value)
		case "actor":
			q.Actor = value
		case "actor_kind":
			if q.ActorKind = value; !slices.Contains(domain.ActorKinds, value) {
				err = domain.RefuseField(domain.Malformed, name, "%q is not a kind of actor; there are %s", value, strings.Join(domain.ActorKinds, ", "))
			}
		case "type":
			if q.Type = value; !slices.Contains(domain.EventTypes(), value) {
				err = domain.RefuseField(domain.Malformed, name, "%q is not a type of event; there are %s", value, strings.Join(domain.EventTypes(), ", "))
			}
		case "source":
			if q.Source = domain.Source(value); !q.Source.Known() {
				err = domain.RefuseField(domain.Malformed, name, "%q is not a source; there are %s", value, domain.KnownSources())
			}
		case "client":
			if q.Client = projections.Program(value); q.Client == "" {
				err = domain.RefuseField(domain.Malformed, name, "%q does not begin with the name of a program, such as curl", value)
			}
		case "ticket":
			q.Ticket = value
		case "q":
			q.Text, err = wordsOf(name, value)
		case "from":
			q.From, err = queryTime(name, value)
		case "to":
			q.To, err = queryTime(name, value)
		case "cursor":
			q.Below, err = r.positionCursor()
		}
		if err != nil {
			return q, err
		}
	}
	if err := checkSpan(q.From, q.To); err != nil {
		return q, err
	}
	if q.Affects != "" && q.Environment == "" {
		return q, domain.RefuseField(domain.Malformed, "environment", "the filter affects needs the filters project and environment")
	}
	if project == "" && (q.Environment != "" || q.Object.Kind != "" && q.Object.Kind != domain.KindToken) {
		return q, domain.RefuseField(domain.Malformed, "project", "the filters environment and object need the filter project")
	}
	if q.Environment != "" && !r.visible(project, q.Environment) {
		return q, domain.RefuseField(domain.NotFound, "environment", "there is no environment %q whose history this token may read", q.Environment)
	}
	if q.Object.Kind == domain.KindToken {
		q.Project = domain.OrganisationID
	}
	asked := q.Object.String()
	if q.Object, err = r.surrogateOf(project, q.Object); err != nil {
		return q, err
	}
	return q, r.server.knowsOf(q, asked)
}

// surrogateOf is the object with the surrogate of the identity whose identifier
// it has for a key, where one is stored and the token may read its history. A
// surrogate remains what it is, also that of somebody who is erased.
func (r *request) surrogateOf(project string, o domain.Object) (domain.Object, error) {
	env := r.server.Views.Project(domain.ProjectID(project)).Environments.Get(o.Environment)
	if o.Kind != domain.KindIdentity || o.Key == domain.AnyKey || env == nil || !r.visible(project, o.Environment) {
		return o, nil
	}
	id := projections.EnvironmentID{Project: domain.ProjectID(project), ID: env.ID}
	stored := r.server.Identities.Get(id, o.Key)
	if stored == nil || r.server.Identities.Identifier(id, o.Key) != "" {
		return o, nil
	}
	past, _, err := r.server.Views.Audit(projections.AuditQuery{Project: id.Project, Object: o, Limit: 1})
	if err == nil && len(past) == 0 {
		o.Key = stored.Surrogate
	}
	return o, err
}

// wordsOf are words to look for, of which there must be one.
func wordsOf(name, text string) (string, error) {
	if !projections.HasWords(text) {
		return "", domain.RefuseField(domain.Malformed, name, "%q has no word to look for: one has two letters or digits at least", text)
	}
	return text, nil
}

// knowsOf refuses filters by what the history has nothing about: such a filter
// is a slip of the pen, and no answer to it would say so. object is the filter
// as it was asked for.
func (s *Server) knowsOf(q projections.AuditQuery, object string) error {
	knows := func(field string, about projections.AuditQuery, of string) error {
		about.Project, about.Visible, about.Limit = q.Project, q.Visible, 1
		entries, _, err := s.Views.Audit(about)
		if err == nil && len(entries) == 0 {
			err = domain.RefuseField(domain.NotFound, field, "the history has nothing about %s", of)
		}
		return err
	}
	if q.Environment != "" {
		if err := knows("environment", projections.AuditQuery{Environment: q.Environment}, "environment "+strconv.Quote(q.Environment)); err != nil {
			return err
		}
	}
	if q.Affects != "" {
		if err := knows("affects", projections.AuditQuery{Object: featureObject(q.Affects)}, "feature "+strconv.Quote(q.Affects)); err != nil {
			return err
		}
	}
	o := q.Object
	if o.Kind == "" || o.Key == domain.AnyKey && strings.Trim(o.Environment, domain.AnyKey) == "" {
		return nil // there are such kinds, though perhaps no object of one
	}
	of := "object " + strconv.Quote(object)
	if o.Kind == domain.KindIdentity && o.Key != domain.AnyKey {
		of += "; an identity is named by its identifier, or its surrogate once it is erased, and is in the history where something was set for it"
	}
	return knows("object", projections.AuditQuery{Object: o}, of)
}

func (r *request) positionCursor() (uint64, error) {
	plain, err := r.cursor()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(plain, 10, 64)
	if err != nil || n == 0 {
		return 0, domain.RefuseField(domain.Malformed, "cursor", "%q is not a cursor of this list", r.QueryParam("cursor"))
	}
	return n, nil
}

// checkSpan refuses a time in which nothing can lie.
func checkSpan(from, to time.Time) error {
	if !from.IsZero() && !to.IsZero() && !from.Before(to) {
		return domain.RefuseField(domain.Malformed, "from", "%s is not before %s, the end of the time", from.Format(time.RFC3339), to.Format(time.RFC3339))
	}
	return nil
}

func queryTime(name, value string) (time.Time, error) {
	t, err := parseTime(value)
	if err != nil {
		return t, domain.RefuseField(domain.Malformed, name, "%q is not a time as of RFC 3339, such as 2026-05-03T14:02:00Z", value)
	}
	return t, nil
}

func (s *Server) getAudit(r *request) error {
	position, err := parseNumber(r.param("position"))
	if err != nil {
		return domain.RefuseField(domain.Malformed, "position", "%q is not a position", r.param("position"))
	}
	entry, err := s.Views.AuditEntry(position, r.visible)
	if err != nil {
		return err
	}
	shown, err := r.showEntry(entry)
	if err != nil {
		return err
	}
	return r.show(0, shown)
}

// changesOf words what a change did, or would do.
func (r *request) changesOf(result commands.Result) ([]objectChange, error) {
	changes, actor := []objectChange{}, r.token.Name
	all, err := imagesOf(result)
	if err == nil && result.Replayed {
		var e projections.Entry
		e, err = r.server.Views.AuditEntry(result.Position, nil)
		all, actor, result.Events = e.Changes, actorName(e.Commit.Actor), e.Commit.Events
	}
	if err != nil {
		return nil, err
	}
	for _, c := range all {
		if c.Before == nil && c.After == nil {
			continue
		}
		shown, err := r.server.showChange(result.After.ID, actor, c, result.Events)
		if err != nil {
			return nil, err
		}
		changes = append(changes, shown)
	}
	r.seesChanges(result.After.Key, changes)
	return changes, nil
}

// imagesOf are the objects that a change changes, before and after it.
func imagesOf(result commands.Result) ([]projections.Change, error) {
	var all []projections.Change
	for _, o := range result.Objects {
		c := projections.Change{Object: o}
		if env := result.After.Environments.Get(o.Environment); env != nil {
			c.EnvironmentID = env.ID
		}
		var err error
		if c.Before, err = image(result.Before, o); err != nil {
			return nil, err
		}
		if c.After, err = image(result.After, o); err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

func image(p *domain.Project, o domain.Object) (json.RawMessage, error) {
	object := p.Get(o)
	if object == nil {
		return nil, nil
	}
	return json.Marshal(object)
}

// shownVersion is a version of an environment with the commit that made it.
type shownVersion struct {
	projections.Version
	RecordedAt time.Time     `json:"recorded_at"`
	Actor      domain.Actor  `json:"actor"`
	Source     domain.Source `json:"source"`
	Reason     string        `json:"reason"`
	Ticket     string        `json:"ticket"`
	Summary    []string      `json:"summary"` // a sentence per changed object
}

func (r *request) showVersion(v projections.Version) (shownVersion, error) {
	shown := shownVersion{Version: v, Summary: []string{}}
	e, err := r.server.Views.AuditEntry(v.Position, func(_, environment string) bool {
		return environment == "" || environment == r.environment.Key
	})
	if err != nil {
		return shown, err
	}
	entry, err := r.showEntry(e)
	if err != nil {
		return shown, err
	}
	shown.RecordedAt, shown.Actor, shown.Source, shown.Reason, shown.Ticket = entry.RecordedAt, entry.Actor, entry.Source, entry.Reason, entry.Ticket
	for _, c := range entry.Changes {
		shown.Summary = append(shown.Summary, c.Sentence)
	}
	return shown, nil
}

func (s *Server) listVersions(r *request) error {
	limit, err := r.limit()
	if err != nil {
		return err
	}
	var below uint64
	if r.QueryParam("cursor") != "" {
		if below, err = r.positionCursor(); err != nil {
			return err
		}
	}
	if r.asOf != "" {
		newest, err := s.Views.VersionAt(r.environmentID(), r.project.Position)
		if err != nil {
			return err
		}
		if below == 0 || below > newest.Version {
			below = newest.Version + 1
		}
	}
	versions, err := s.Views.Versions(r.environmentID(), below, limit)
	if err != nil {
		return err
	}
	list := page[shownVersion]{Items: []shownVersion{}}
	for _, v := range versions {
		shown, err := r.showVersion(v)
		if err != nil {
			return err
		}
		list.Items = append(list.Items, shown)
	}
	if len(versions) == limit && versions[limit-1].Version > 1 {
		list.Next = cursorOf(strconv.FormatUint(versions[limit-1].Version, 10))
	}
	return r.show(0, list)
}

// getVersion shows the whole content of a version.
func (s *Server) getVersion(r *request) error {
	number, err := parseNumber(r.param("version"))
	if err != nil || number == 0 {
		return domain.RefuseField(domain.Malformed, "version", "%q is not a version; versions are 1, 2, 3 ...", r.param("version"))
	}
	version, err := s.Views.Version(r.environmentID(), number)
	if err != nil {
		return inField("version", err)
	}
	if r.asOf != "" && version.Position > r.project.Position {
		return domain.RefuseField(domain.NotFound, "version", "version %d was not there yet at position %d", number, r.project.Position)
	}
	shown, err := r.showVersion(version)
	if err != nil {
		return err
	}
	past, err := s.Views.At(r.environmentID(), version.Position)
	if err != nil {
		return err
	}
	content := contentOf(past, past.Environments.Get(r.environment.Key))
	for i, o := range content.Identities {
		content.Identities[i].Identifier = s.nameOf(r.environmentID(), o.Identity)
	}
	r.asOf = asOf(version.Position)
	r.seesContent(content)
	return r.show(0, struct {
		shownVersion
		Content environmentContent `json:"content"`
	}{shown, content})
}

// environmentContent is all that an environment evaluates.
type environmentContent struct {
	Features   []shownState     `json:"features"`
	Segments   []shownSegment   `json:"segments"` // those in use
	Identities []shownOverrides `json:"identities"`
}

// shownOverrides are those of an identity, with whose they are.
type shownOverrides struct {
	*domain.IdentityOverrides
	Identifier string `json:"identifier"`
}

// shownSegment is a segment as an environment sees it.
type shownSegment struct {
	*domain.Segment
	Pinned bool `json:"pinned"`
}

func contentOf(p *domain.Project, env *domain.Environment) environmentContent {
	c := environmentContent{Features: []shownState{}, Segments: []shownSegment{}, Identities: []shownOverrides{}}
	for _, f := range p.Features.All() {
		state := showState(env, f)
		for i := range state.SegmentOverrides {
			state.SegmentOverrides[i].PinnedRevision = 0 // the segments tell
		}
		c.Features = append(c.Features, state)
	}
	for key := range env.Uses.All() {
		seg := *p.Segments.Get(key)
		pin := env.SegmentPins.Get(key)
		if pin != nil {
			seg.Revision, seg.Rules = pin.Revision, pin.Rules
		}
		c.Segments = append(c.Segments, shownSegment{&seg, pin != nil})
	}
	for _, o := range env.Identities.All() {
		c.Identities = append(c.Identities, shownOverrides{IdentityOverrides: o})
	}
	return c
}
