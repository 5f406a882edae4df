package httpapi

import (
	"bytes"
	"encoding/json"
	"strconv"
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
	return r.scopes().See(project, environment)
}

// scopes are the parts of the history that the token may see. Who may see that of
// an environment may also see that of what the project's environments share.
func (r *request) scopes() projections.Scopes {
	scopes := projections.Scopes{}
	for _, g := range r.token.Grants {
		one := domain.Token{Grants: []domain.Grant{g}}
		switch {
		case one.Allows(domain.Audit, "", ""):
			return nil
		case g.Project != "" && one.Allows(domain.Audit, g.Project, g.Environment):
			scopes = append(scopes, projections.Scope{Project: g.Project, Environment: g.Environment})
		}
	}
	return scopes
}

func (s *Server) listAudit(r *request) error {
	q, err := r.auditQuery()
	if err != nil {
		return err
	}
	entries, next, err := s.Views.Audit(r.Request().Context(), q)
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

func (s *Server) getAudit(r *request) error {
	position, err := parseNumber(r.param("position"))
	if err != nil {
		return domain.RefuseField(domain.Malformed, "position", "%q is not a position", r.param("position"))
	}
	entry, err := s.Views.AuditEntry(position, r.scopes())
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
		for _, p := range []*domain.Project{result.Before, result.After} { // it may have come, or gone
			if env := p.Environments.Get(o.Environment); env != nil {
				c.EnvironmentID = env.ID
			}
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
