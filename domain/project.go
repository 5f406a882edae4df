// Package domain is the pure core of Flagledger: what a project consists of,
// the events that change it, and how each event does so.
//
// A [Project] is an immutable value. [Project.Evolve] takes recorded events and
// returns the next one; the old one stays valid, so readers need no lock.
// Package commands decides which events a change leads to, package projections
// folds the log through Evolve. There is no I/O, clock or randomness in here:
// times, ids and hashes of secrets are passed in.
//
// Objects are named by keys that never change (a deleted key may be used
// again), and carry besides an SDK-facing number from one counter per project,
// so that no two hash salts of a project ever coincide.
package domain

import (
	"time"

	"github.com/google/uuid"
)

// OrganisationID is the id of the log that belongs to no project: tokens live
// in it. Its state is a Project without environments.
const OrganisationID = "_organisation"

// projectSpace is the UUID namespace from which project ids are derived.
var projectSpace = uuid.MustParse("6f1d8f6c-6f3b-5a5e-9d43-0b8d3f7f2c11")

// ProjectID is the id of the project with the key: the UUIDv5 of the key. So a
// key belongs to one subject of the log, and the log itself keeps two projects
// from being created under one key.
func ProjectID(key string) string {
	return uuid.NewSHA1(projectSpace, []byte(key)).String()
}

// Project is the state of one log: a project with all it owns. It is immutable
// once published. A Project with an empty Key does not exist (any more).
type Project struct {
	ID string // of the log; set also before the project exists
	projectRecord

	// Position is that of the last commit of this log, 0 before the first.
	Position uint64
	// LastID is the SDK-facing number handed out last. It survives the project.
	LastID int32

	Tokens       Map[*Token] // by id; of the organisation only
	Environments Map[*Environment]
	Features     Map[*Feature]
	// Folded maps the lower-case form of each feature's key to the key: SDKs
	// exist that do not tell them apart.
	Folded       Map[string]
	Segments     Map[*Segment]
	Contexts     Map[*Context]
	SegmentTests Map[*SegmentTests] // by segment
	FeatureTests Map[*FeatureTests] // by feature
}

// projectRecord is the part of a project that is an object of its own.
type projectRecord struct {
	Key         string `json:"key"`
	Name        string `json:"name"`
	Description string `json:"description"`
	ProjectSettings
	Created Stamp `json:"created"`
	Changed Stamp `json:"changed"`
}

// ProjectSettings are the switches of a project.
type ProjectSettings struct {
	HideDisabledFlags bool `json:"hide_disabled_flags"` // disabled flags are left out of SDK answers
	PersistTraits     bool `json:"persist_traits"`      // traits sent by apps are stored
	// StrictContexts refuses rules about traits that are not declared, and drops
	// such traits when apps send them.
	StrictContexts bool `json:"strict_contexts"`
}

// projectSDKID is the SDK-facing number of the project itself: the first of
// its counter.
const projectSDKID = 1

// SDKID is the SDK-facing number of the project.
func (p *Project) SDKID() int32 { return projectSDKID }

// record returns the project's own object, or nil where it does not exist. The
// organisation has none.
func (p *Project) record() *projectRecord {
	if p.Key == "" {
		return nil
	}
	return &p.projectRecord
}

// Exists tells whether the project was created and not deleted since.
func (p *Project) Exists() bool { return p.Key != "" }

// Evolve returns the project after the events of one commit, and the objects
// they changed, each once, in the order in which they were first touched.
func (p *Project) Evolve(events []Event, at Stamp) (*Project, []Object) {
	next := *p
	var objects []Object
	seen := make(map[Object]bool)
	for _, e := range events {
		for _, o := range e.Objects(&next) {
			if !seen[o] {
				seen[o] = true
				objects = append(objects, o)
			}
		}
		e.apply(&next, at)
	}
	next.Position = at.Position
	return &next, objects
}

// used notes that the numbers have been handed out.
func (p *Project) used(ids ...int32) {
	for _, id := range ids {
		p.LastID = max(p.LastID, id)
	}
}

// changeEnvironment replaces an environment by a changed copy.
func (p *Project) changeEnvironment(key string, change func(*Environment)) {
	env := *p.Environments.Get(key)
	change(&env)
	p.Environments = p.Environments.Set(key, &env)
}

// ProjectCreated opens a project. Its numbers go on where those of an earlier
// project of this key ended.
type ProjectCreated struct {
	Key         string `json:"key"`
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	ProjectSettings
}

// ProjectUpdated replaces what can be changed of a project.
type ProjectUpdated struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	ProjectSettings
}

// ProjectDeleted ends a project.
type ProjectDeleted struct {
	Key string `json:"key"`
}

// EventType implements Event.
func (ProjectCreated) EventType() string { return "project.created.v1" }

// EventType implements Event.
func (ProjectUpdated) EventType() string { return "project.updated.v1" }

// EventType implements Event.
func (ProjectDeleted) EventType() string { return "project.deleted.v1" }

// Objects implements Event.
func (e ProjectCreated) Objects(*Project) []Object { return []Object{{Kind: KindProject, Key: e.Key}} }

// Objects implements Event.
func (ProjectUpdated) Objects(p *Project) []Object { return []Object{{Kind: KindProject, Key: p.Key}} }

// Objects implements Event. All that the project owns goes with it.
func (e ProjectDeleted) Objects(p *Project) []Object {
	var objects []Object
	add := func(o Object) bool {
		objects = append(objects, o)
		return true
	}
	for key := range p.Environments.All() {
		objects = append(objects, EnvironmentDeleted{key}.Objects(p)...)
	}
	eachKey(p.Features, KindFeature, "", add)
	eachKey(p.Segments, KindSegment, "", add)
	eachKey(p.Contexts, KindContext, "", add)
	eachKey(p.SegmentTests, KindSegmentTests, "", add)
	eachKey(p.FeatureTests, KindFeatureTests, "", add)
	return append(objects, Object{Kind: KindProject, Key: e.Key})
}

func (e ProjectCreated) apply(p *Project, at Stamp) {
	p.projectRecord = projectRecord{
		Key: e.Key, Name: e.Name, Description: e.Description, ProjectSettings: e.ProjectSettings,
		Created: at, Changed: at,
	}
	p.used(projectSDKID)
}

func (e ProjectUpdated) apply(p *Project, at Stamp) {
	p.Name, p.Description, p.ProjectSettings, p.Changed = e.Name, e.Description, e.ProjectSettings, at
}

func (e ProjectDeleted) apply(p *Project, _ Stamp) {
	*p = Project{ID: p.ID, LastID: p.LastID}
}

// A Token is a bearer token of the administration: who it speaks for and what
// it may do. The secret itself is known only to its holder.
type Token struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Hash      string    `json:"hash"` // hex SHA-256 of the secret
	Grants    []Grant   `json:"grants"`
	ExpiresAt time.Time `json:"expires_at,omitzero"` // zero: never
	Created   Stamp     `json:"created"`
	Changed   Stamp     `json:"changed"`
}

// Role is what a token may do.
type Role string

// The roles. An editor may change what environments answer; an admin may
// besides manage environments, keys, tokens and projects; an approver may
// approve what others propose. All of them may read.
const (
	Viewer   Role = "viewer"
	Auditor  Role = "auditor"
	Editor   Role = "editor"
	Approver Role = "approver"
	Admin    Role = "admin"
)

// A Grant gives a role in all projects, one project, or one environment of it.
type Grant struct {
	Role        Role   `json:"role"`
	Project     string `json:"project,omitempty"`     // key; empty: all projects
	Environment string `json:"environment,omitempty"` // key; empty: all of the project
}

// TokenCreated adds a token.
type TokenCreated struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Hash      string    `json:"hash"`
	Grants    []Grant   `json:"grants"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
}

// TokenRevoked ends a token.
type TokenRevoked struct {
	ID string `json:"id"`
}

// EventType implements Event.
func (TokenCreated) EventType() string { return "token.created.v1" }

// EventType implements Event.
func (TokenRevoked) EventType() string { return "token.revoked.v1" }

// Objects implements Event.
func (e TokenCreated) Objects(*Project) []Object { return []Object{{Kind: KindToken, Key: e.ID}} }

// Objects implements Event.
func (e TokenRevoked) Objects(*Project) []Object { return []Object{{Kind: KindToken, Key: e.ID}} }

func (e TokenCreated) apply(p *Project, at Stamp) {
	p.Tokens = p.Tokens.Set(e.ID, &Token{ID: e.ID, Name: e.Name, Hash: e.Hash, Grants: e.Grants, ExpiresAt: e.ExpiresAt, Created: at, Changed: at})
}

func (e TokenRevoked) apply(p *Project, _ Stamp) { p.Tokens = p.Tokens.Delete(e.ID) }
