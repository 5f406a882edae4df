package httpapi

import (
	"strconv"
	"strings"

	"flagledger/domain"
	"flagledger/domain/evaluation"
)

// appendFlags writes the list of the flags that the key is shown, and counts
// them. A flag that has no answer for lack of a targeting key is a failure of
// its own.
func (q *ofrepRequest) appendFlags(b []byte) []byte {
	b = append(b, `{"flags":[`...)
	first := len(b)
	answered := q.outcomes[:0]
	for _, o := range q.outcomes {
		if q.at.hides(o) {
			continue
		}
		if len(b) > first {
			b = append(b, ',')
		}
		if q.anonymous() && q.dependsOnWho(o.Flag) {
			b = appendString(append(b, `{"key":`...), o.Flag.Name)
			b = append(b, `,"errorCode":"`+codeTargetingKeyMissing+`"}`...)
			continue
		}
		b = append(q.appendFlag(b, o), "}}"...)
		answered = append(answered, o)
	}
	q.at.snapshot.Tally.Count(answered...)
	return append(b, ']')
}

// appendFlag writes what a flag is, up to the first of its metadata. Without a
// value the client takes the one that is in its code: a disabled flag has none.
// One that is on and has none of its own is true.
func (q *ofrepRequest) appendFlag(b []byte, o *evaluation.Outcome) []byte {
	b = appendString(append(b, `{"key":`...), o.Flag.Name)
	if o.Enabled {
		b = q.appendFlagValue(append(b, `,"value":`...), o)
	}
	b = append(append(b, `,"reason":"`...), ofrepReason(o)...)
	b = append(b, '"')
	if o.Enabled && o.Variant != "" {
		b = appendString(append(b, `,"variant":`...), o.Variant)
	}
	return strconv.AppendInt(append(b, `,"metadata":{"featureId":`...), int64(o.Flag.ID), 10)
}

// appendFlagValue writes the value. A text that is an object is sent as one
// where the feature says so.
func (q *ofrepRequest) appendFlagValue(b []byte, o *evaluation.Outcome) []byte {
	if o.Value.IsNull() {
		return append(b, "true"...) // a flag that is only switched on and off
	}
	if text, is := o.Value.AsString(); is && isObject(text) {
		if f := q.at.snapshot.Project.Features.Get(o.Flag.Name); f != nil && f.ObjectValue {
			return append(b, text...)
		}
	}
	return o.Value.AppendJSON(b)
}

// isObject tells whether a text is a JSON object.
func isObject(text string) bool {
	r := newJSONReader(text)
	if r.kind() != jsonObject {
		return false
	}
	r.skip()
	r.end()
	return r.err == nil
}

// appendVersion writes the metadata that tell which snapshot answered. In an
// answer with all flags they stand once: in each flag, every flag would look
// changed to clients after every change of one.
func (q *ofrepRequest) appendVersion(b []byte) []byte {
	b = strconv.AppendUint(append(b, `"version":`...), q.at.snapshot.Version, 10)
	return strconv.AppendUint(append(b, `,"position":`...), q.at.snapshot.Position, 10)
}

// ofrepReason says in the protocol's words why an outcome is what it is. Whom no
// variant took in a split has the environment's own value, but not as everybody
// has it: STATIC would say that.
func ofrepReason(o *evaluation.Outcome) string {
	switch {
	case !o.Enabled:
		return "DISABLED"
	case strings.HasPrefix(o.Reason, "TARGETING_MATCH"):
		return "TARGETING_MATCH"
	case o.Variant != "" || strings.HasPrefix(o.Reason, "SPLIT"):
		return "SPLIT"
	default:
		return "STATIC"
	}
}

// dependsOnWho tells whether the answer of the flag has to do with who asks:
// whether what decides it is split, or one of the rules on the way there looks
// at the identifier.
func (q *ofrepRequest) dependsOnWho(f *evaluation.Flag) bool {
	x := q.at.snapshot.Evaluation.Explain(f, &q.identity)
	if x.Bucket != nil {
		return true
	}
	for i := range x.Segments {
		if lookAtWho(x.Segments[i].Rules) {
			return true
		}
	}
	return false
}

func lookAtWho(rules []evaluation.RuleTrace) bool {
	for i := range rules {
		for j := range rules[i].Conditions {
			if looksAtWho(rules[i].Conditions[j].Condition) {
				return true
			}
		}
		if lookAtWho(rules[i].Rules) {
			return true
		}
	}
	return false
}

// looksAtWho tells whether a condition is about $.identity.identifier or
// $.identity.key, which is also what a % split without a property is about.
func looksAtWho(c evaluation.Condition) bool {
	if c.Property == "" {
		return c.Operator == evaluation.PercentageSplit
	}
	return strings.HasPrefix(c.Property, "$.identity") && domain.TraitOf(c.Property) == ""
}
