package domain

import (
	"slices"
	"time"
)

// Right is what a request asks to be allowed.
type Right string

// The rights. Roles give them; see Token.Allows.
const (
	Read   Right = "read"   // the configuration
	Audit  Right = "audit"  // the history of changes: who, when, why
	Write  Right = "write"  // change what environments answer
	Manage Right = "manage" // projects, environments, keys, tokens, erasure
)

// rights are those of each role.
var rights = map[Role][]Right{
	Viewer:   {Read},
	Auditor:  {Read, Audit},
	Approver: {Read, Audit},
	Editor:   {Read, Audit, Write},
	Admin:    {Read, Audit, Write, Manage},
}

// Known tells whether there is such a role.
func (r Role) Known() bool { return rights[r] != nil }

// Allows tells whether the token has the right in an environment of a project;
// with an empty environment in the whole project, with an empty project
// everywhere. Reading what belongs to the project as a whole, such as its
// features, is also allowed to those who may read any of its environments.
func (t *Token) Allows(right Right, project, environment string) bool {
	for _, g := range t.Grants {
		if !slices.Contains(rights[g.Role], right) {
			continue
		}
		if g.Project != "" && g.Project != project {
			continue
		}
		if g.Environment == "" || g.Environment == environment || (right == Read && environment == "" && project != "") {
			return true
		}
	}
	return false
}

// AllowsThroughout tells whether the token has the right in the whole project, by
// a grant that is not one in an environment.
func (t *Token) AllowsThroughout(right Right, project string) bool {
	return slices.ContainsFunc(t.Grants, func(g Grant) bool {
		return g.Environment == "" && (g.Project == "" || g.Project == project) && slices.Contains(rights[g.Role], right)
	})
}

// AllowsSomewhere tells whether the token has the right in the project, or in any
// environment of it; with no project, whether it has it in anything at all.
func (t *Token) AllowsSomewhere(right Right, project string) bool {
	return slices.ContainsFunc(t.Grants, func(g Grant) bool {
		return (project == "" || g.Project == "" || g.Project == project) && slices.Contains(rights[g.Role], right)
	})
}

// Expired tells whether the token has run out.
func (t *Token) Expired(now time.Time) bool {
	return !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt)
}

// Usable tells whether the SDK key may be used.
func (k *SDKKey) Usable(now time.Time) bool {
	return k.Active && (k.ExpiresAt.IsZero() || now.Before(k.ExpiresAt))
}
