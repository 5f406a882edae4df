package projections

import (
	"slices"

	"flagledger/domain"
)

// A Scope is a part of the history: that of a project, or with an environment
// that of this environment and of what belongs to the project as a whole.
type Scope struct{ Project, Environment string } // keys

// Scopes are the parts of the history that somebody may see; nil: all of it.
type Scopes []Scope

// See tells whether something of a project may be seen: of the environment, or
// with none of the project as a whole. What is of no project is of no scope.
func (s Scopes) See(project, environment string) bool {
	return s == nil || slices.ContainsFunc(s, func(one Scope) bool {
		return one.Project == project && (one.Environment == "" || environment == "" || one.Environment == environment)
	})
}

// terms are those of which each commit has one that shows anything of the scopes;
// also commits that only let an environment evaluate something else have its term.
func (s Scopes) terms() []string {
	terms := []string{}
	for _, one := range s {
		project := domain.ProjectID(one.Project)
		if one.Environment == "" {
			terms = append(terms, string(appendTerm(nil, "project", project)))
			continue
		}
		for _, environment := range []string{"", one.Environment} {
			terms = append(terms, string(appendTerm(nil, "environment", project, environment)))
		}
	}
	slices.Sort(terms)
	return slices.Compact(terms)
}
