package commands

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"flagledger/domain"
)

// newcomer stands for the surrogate of somebody whom a dry run would make known.
const newcomer = "a new identity"

// checkListed refuses a change that would give SDKs in local evaluation an
// identity override which they read as one of others: a new one, however it came
// about, or those that were there before an environment gives them away. What
// was given away already may stay.
func checkListed(before, after *domain.Project, objects []domain.Object, in *Inputs) error {
	var found []string
	check := func(env *domain.Environment, was *domain.Environment, o *domain.IdentityOverrides) {
		if o == nil {
			return
		}
		identifier := in.Persons.Name(after.ID, env.ID, o.Identity)
		if o.Identity == newcomer {
			identifier = in.newcomer
		}
		problem := unlistable(identifier)
		if problem == "" {
			return
		}
		for _, own := range o.List {
			if was != nil && was.LocalIdentityOverrides {
				if i, _ := was.Identities.Get(o.Identity).Find(own.Feature); i >= 0 {
					continue
				}
			}
			found = append(found, fmt.Sprintf("feature %s for %q in %s (%s)", own.Feature, identifier, env.Key, problem))
		}
	}
	for _, o := range objects {
		name := o.Environment
		if o.Kind == domain.KindEnvironment {
			name = o.Key
		}
		env, was := after.Environments.Get(name), before.Environments.Get(name)
		switch {
		case env == nil || !env.LocalIdentityOverrides:
		case o.Kind == domain.KindIdentity:
			check(env, was, env.Identities.Get(o.Key))
		case o.Kind == domain.KindEnvironment && (was == nil || !was.LocalIdentityOverrides):
			for _, o := range env.Identities.All() {
				check(env, was, o)
			}
		}
	}
	if len(found) == 0 {
		return nil
	}
	found = slices.Compact(slices.Sorted(slices.Values(found)))
	return domain.Refuse(domain.Conflict, "SDKs in local evaluation would not give these identity overrides to whom they are for, and to nobody else: %s; "+
		"remove them, or leave use_identity_overrides_in_local_eval off", someOf(found))
}

// unlistable says why SDKs, which look for an identifier in a list, would not
// find just this one. Engines differ; see the table of known differences.
func unlistable(identifier string) string {
	switch {
	case strings.Contains(identifier, ","):
		return "Node and Go join the list by commas"
	case strings.HasPrefix(identifier, "[") && json.Valid([]byte(identifier)):
		return "it reads as a list itself"
	case wholeForm.MatchString(identifier) && !plainForm.MatchString(identifier):
		return "Python takes it for a number, which is written otherwise"
	case fractionForm.MatchString(identifier):
		return "Python takes it for a fraction, which is in no list"
	}
	return ""
}

var (
	wholeForm    = regexp.MustCompile(`^-?[0-9]+$`)
	plainForm    = regexp.MustCompile(`^(0|-?[1-9][0-9]*)$`)
	fractionForm = regexp.MustCompile(`^-?[0-9]+\.[0-9]+$`)
)
