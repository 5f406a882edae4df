package domain

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"flagledger/domain/evaluation"
)

// Limits bounds what an installation accepts. All are checked where changes are
// decided, so that no way in is without them.
type Limits struct {
	Features         int // of a project
	Segments         int // of a project
	Environments     int // of a project
	Conditions       int // of a segment, in all its rules
	RuleDepth        int // of a segment
	ConditionBytes   int // of a condition's value
	ValueLength      int // characters of a feature's value
	IdentifierLength int // characters
	TraitKeyLength   int // characters
	TraitLength      int // characters of a trait's string value
	Traits           int // of an identity
	Variants         int // of a feature
	TextLength       int // characters of names, descriptions, reasons
}

// DefaultLimits are those of an installation that sets none.
func DefaultLimits() Limits {
	return Limits{
		Features: 10_000, Segments: 5_000, Environments: 100,
		Conditions: 100, RuleDepth: 5, ConditionBytes: 1 << 20,
		ValueLength: 20_000, IdentifierLength: 2_000, TraitKeyLength: 200, TraitLength: 2_000, Traits: 200,
		Variants: 100, TextLength: 2_000,
	}
}

// byName is each limit under the name by which an installation sets it.
func (l *Limits) byName() map[string]*int {
	return map[string]*int{
		"features": &l.Features, "segments": &l.Segments, "environments": &l.Environments,
		"conditions": &l.Conditions, "rule-depth": &l.RuleDepth, "condition-bytes": &l.ConditionBytes,
		"value-length": &l.ValueLength, "identifier-length": &l.IdentifierLength, "trait-key-length": &l.TraitKeyLength, "trait-length": &l.TraitLength,
		"traits": &l.Traits, "variants": &l.Variants, "text-length": &l.TextLength,
	}
}

// maxKeyText is the most characters of a text that the views find things by: of
// up to 4 bytes each, they are less than what bbolt takes for a key. A longer one,
// once recorded, could never be applied.
const maxKeyText = 8_000

// Set changes the limits that are named, to at least 1. Changes recorded before
// stay as they are; what is over a limit that was lowered can only shrink.
func (l *Limits) Set(changes map[string]int) error {
	all := l.byName()
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		limit, n := all[name], changes[name]
		if limit == nil {
			return RefuseField(Invalid, name, "there is no limit %q; there are %s", name, strings.Join(slices.Sorted(maps.Keys(all)), ", "))
		}
		if n < 1 {
			return RefuseField(Invalid, name, "the limit of %s cannot be %d; it is at least 1", name, n)
		}
		if n > maxKeyText && (limit == &l.TextLength || limit == &l.TraitKeyLength) {
			return RefuseField(Invalid, name, "the limit of %s cannot be %d; it is at most %d", name, n, maxKeyText)
		}
		*limit = n
	}
	return nil
}

// CheckChange refuses a change that makes more of something than there may be,
// whatever led to it: commands that create refuse before, but an undo or a
// rollback brings back what others may have replaced since. Single values and
// rules that come back were within the limits when they were recorded.
func (l Limits) CheckChange(before, after *Project, objects []Object) error {
	check := func(what string, was, is, limit int) error {
		if is <= limit || is <= was {
			return nil
		}
		return Refuse(LimitReached, "project %q would have %d %s; the limit is %d", after.Key, is, what, limit)
	}
	err := cmp.Or(
		check("features", before.Features.Len(), after.Features.Len(), l.Features),
		check("segments", before.Segments.Len(), after.Segments.Len(), l.Segments),
		check("environments", before.Environments.Len(), after.Environments.Len(), l.Environments),
	)
	for _, o := range objects {
		if is := after.Features.Get(o.Key); o.Kind == KindFeature && is != nil {
			was := 0
			if f := before.Features.Get(o.Key); f != nil {
				was = len(f.Variants)
			}
			err = cmp.Or(err, check("variants of feature "+o.Key, was, len(is.Variants), l.Variants))
		}
	}
	return err
}

// CheckText refuses a text that is too long or holds control characters.
func (l Limits) CheckText(field, text string) error {
	if n := utf8.RuneCountInString(text); n > l.TextLength {
		return RefuseField(LimitReached, field, "%s has %d characters; the limit is %d", field, n, l.TextLength)
	}
	if !utf8.ValidString(text) {
		return RefuseField(Malformed, field, "%s is not valid UTF-8", field)
	}
	if i := strings.IndexFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }); i >= 0 {
		return RefuseField(Malformed, field, "%s has a control character at byte %d", field, i)
	}
	return nil
}

// CheckKey refuses what cannot be a key: of features, segments, environments
// and projects alike, since all of them stand in paths and in SDK answers.
func CheckKey(field, key string) error {
	if evaluation.IsObjectMember(key) {
		return RefuseField(Invalid, field, "%q is a member of every object of JavaScript, which SDKs on it would take for the feature; choose another key", key)
	}
	if keyForm.MatchString(key) && strings.Trim(key, ".") != "" {
		return nil
	}
	return RefuseField(Invalid, field, "%q cannot be a key; a key is 1 to 150 of the characters A-Z a-z 0-9 _ . - and not only dots", key)
}

var keyForm = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,150}$`)
