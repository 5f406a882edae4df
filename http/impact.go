package httpapi

import (
	"fmt"
	"strconv"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/domain/evaluation"
)

// sample says which identities a proposed change is tried on.
type sample struct {
	Stored     int            `json:"stored"`     // how many of the stored ones of each environment; 0: 1000, at most 100000
	Identities []sampleTraits `json:"identities"` // besides, as if they asked; a stored one counts once
}

// sampleTraits is somebody with traits.
type sampleTraits struct {
	Identifier string                      `json:"identifier"`
	Traits     map[string]evaluation.Value `json:"traits"`
}

// impact is who would get something else.
type impact struct {
	Environments []environmentImpact `json:"environments"`
}

type environmentImpact struct {
	Environment string       `json:"environment"`
	Sampled     int          `json:"sampled"`  // identities tried
	Affected    int          `json:"affected"` // identities that get something else
	Flips       []flagImpact `json:"flips"`
}

// flagImpact counts those for whom a feature goes from one outcome to another.
type flagImpact struct {
	Feature  string       `json:"feature"`
	From     *shownResult `json:"from"` // null: there is no such feature yet
	To       *shownResult `json:"to"`   // null: there is no such feature any more
	Count    int          `json:"count"`
	Examples []string     `json:"examples"` // identifiers, at most 5
}

// shownResult is what a feature evaluates to.
type shownResult struct {
	Enabled bool             `json:"enabled"`
	Value   evaluation.Value `json:"value"`
	Variant string           `json:"variant,omitempty"`
	Reason  string           `json:"reason"`
	Segment string           `json:"segment,omitempty"` // key of the one whose override decided
}

func showResult(o *evaluation.Outcome, segments segmentKeys) *shownResult {
	shown := &shownResult{Enabled: o.Enabled, Value: o.Value, Variant: o.Variant, Reason: o.Reason}
	if o.Segment != nil {
		shown.Segment = segments[o.Segment.Key]
	}
	return shown
}

// segmentKeys are the keys of segments by the numbers that name compiled ones.
type segmentKeys map[string]string

func keysOfSegments(p *domain.Project) segmentKeys {
	keys := make(segmentKeys, p.Segments.Len())
	for key, s := range p.Segments.All() {
		keys[strconv.Itoa(int(s.ID))] = key
	}
	return keys
}

const (
	defaultSample = 1000
	maxSample     = 100_000
	maxExamples   = 5
)

// check refuses a sample that there cannot be, before anything is recorded.
func (s sample) check() error {
	if s.Stored < 0 || s.Stored > maxSample {
		return domain.RefuseField(domain.Invalid, "impact.stored", "%d is not between 0 and %d", s.Stored, maxSample)
	}
	return nil
}

// impactOf tries a proposed change on identities: what they get now, and what
// they would get.
func (r *request) impactOf(change commands.Result, s sample) (*impact, error) {
	if s.Stored == 0 {
		s.Stored = defaultSample
	}
	all := &impact{Environments: []environmentImpact{}}
	before, after := change.Before, change.After
	changed := map[string]bool{}
	for _, c := range new(domain.Contents).Changes(before, after, change.Objects) {
		changed[c.Environment.Key] = true
	}
	for key := range domain.AffectedByContexts(before, after, change.Objects) {
		changed[key] = true
	}
	for _, key := range sortedKeys(changed) {
		env, was := after.Environments.Get(key), before.Environments.Get(key)
		if was == nil || was.ID != env.ID {
			continue // nobody got anything there before
		}
		if r.environment != nil && r.environment.Key != key || !r.token.Allows(domain.Read, after.Key, key) {
			continue
		}
		one, err := r.environmentImpact(before, after, key, s)
		if err != nil {
			return nil, err
		}
		all.Environments = append(all.Environments, one)
	}
	return all, nil
}

func (r *request) environmentImpact(before, after *domain.Project, key string, s sample) (environmentImpact, error) {
	result := environmentImpact{Environment: key, Flips: []flagImpact{}}
	now, err := before.Evaluator(before.Environments.Get(key))
	if err != nil {
		return result, err
	}
	then, err := after.Evaluator(after.Environments.Get(key))
	if err != nil {
		return result, err
	}
	type flip struct {
		feature       string
		from, to      shownResult
		comes, leaves bool
	}
	places := map[flip]int{}
	wasSegments, isSegments := keysOfSegments(before), keysOfSegments(after)
	var coming []*evaluation.Flag // which do not exist yet
	for _, flag := range then.Compiled.Flags() {
		if now.Compiled.Flag(flag.Name) == nil {
			coming = append(coming, flag)
		}
	}
	// kept are the stored traits that count now and then; what does not count now
	// is about to be deleted, and does not come back.
	kept := func(id *domain.Identity) (was, will []evaluation.Trait) {
		was = before.Kept(id.Traits)
		return was, after.Kept(was)
	}
	try := func(surrogate, identifier string, was, will []evaluation.Trait) {
		result.Sampled++
		affected := false
		flips := func(feature string, from, to *evaluation.Outcome) {
			if from != nil && to != nil && from.Enabled == to.Enabled && from.Value == to.Value && from.Variant == to.Variant {
				return
			}
			affected = true
			f := flip{feature: feature, comes: from == nil, leaves: to == nil}
			shown := flagImpact{Feature: feature, Examples: []string{}}
			if from != nil {
				shown.From = showResult(from, wasSegments)
				f.from = *shown.From
			}
			if to != nil {
				shown.To = showResult(to, isSegments)
				f.to = *shown.To
			}
			i, known := places[f]
			if !known {
				i = len(result.Flips)
				places[f] = i
				result.Flips = append(result.Flips, shown)
			}
			result.Flips[i].Count++
			if len(result.Flips[i].Examples) < maxExamples {
				result.Flips[i].Examples = append(result.Flips[i].Examples, identifier)
				r.seesIdentity(before.Key, key, surrogate)
			}
		}
		who := then.Identity(surrogate, identifier, will)
		for _, o := range now.Compiled.Evaluate(nil, now.Identity(surrogate, identifier, was)) {
			if flag := then.Compiled.Flag(o.Flag.Name); flag != nil {
				flips(o.Flag.Name, o, then.Compiled.EvaluateFlag(flag, who))
			} else {
				flips(o.Flag.Name, o, nil)
			}
		}
		for _, flag := range coming {
			flips(flag.Name, nil, then.Compiled.EvaluateFlag(flag, who))
		}
		if affected {
			result.Affected++
		}
	}
	supplied := map[string]bool{} // surrogates that do not count again
	for _, given := range s.Identities {
		surrogate, was := "", traitsOf(given.Traits)
		will := was
		if stored := r.server.Identities.Get(environmentID(before, now.Environment), given.Identifier); stored != nil {
			surrogate = stored.Surrogate
			supplied[surrogate] = true
			if given.Traits == nil { // as in evaluate
				was, will = kept(stored)
			}
		}
		try(surrogate, given.Identifier, was, will)
	}
	for _, id := range r.server.Identities.List(environmentID(before, now.Environment), "", s.Stored) {
		if err := r.Request().Context().Err(); err != nil { // nobody waits for it any more
			return result, fmt.Errorf("try a change on identities: %w", err)
		}
		if !supplied[id.Surrogate] {
			was, will := kept(id)
			try(id.Surrogate, id.Identifier, was, will)
		}
	}
	return result, nil
}

func traitsOf(values map[string]evaluation.Value) []evaluation.Trait {
	var traits []evaluation.Trait
	for _, key := range sortedKeys(values) {
		traits = append(traits, evaluation.Trait{Key: key, Value: values[key]})
	}
	return traits
}
