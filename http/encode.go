package httpapi

import (
	"slices"
	"time"

	"flagledger/domain"
	"flagledger/domain/evaluation"
)

// EncodeFlag makes the JSON object in which SDKs get one outcome of a feature.
// It runs when an environment is compiled, once per outcome; answers to SDKs
// are these objects, copied one behind the other. It is a projections.Encoder.
//
// The object's id is the number of the feature's state in the environment,
// whichever override decided. Which objects an SDK does not get at all (server
// key only, disabled and hidden) depends on its key and is decided when they
// are put together.
func EncodeFlag(_ *domain.Project, env *domain.Environment, f *domain.Feature, o *evaluation.Outcome) []byte {
	shown := !env.HideSensitiveData
	b := make([]byte, 0, 512)
	b = appendMember(b, `{"id":`, shown, func(b []byte) []byte { return evaluation.Int(int64(env.States.Get(f.Key).Seed)).AppendJSON(b) })
	b = evaluation.Int(int64(f.ID)).AppendJSON(append(b, `,"feature":{"id":`...))
	b = appendString(append(b, `,"name":`...), f.Key)
	b = appendMember(b, `,"created_date":`, shown, func(b []byte) []byte { return appendTime(b, f.Created.Time) })
	b = appendMember(b, `,"description":`, shown && f.Description != "", func(b []byte) []byte { return appendString(b, f.Description) })
	b = appendMember(b, `,"initial_value":`, shown && !f.InitialValue.IsNull(), func(b []byte) []byte { return appendString(b, f.InitialValue.String()) })
	b = appendMember(b, `,"default_enabled":`, shown, func(b []byte) []byte { return evaluation.Bool(f.DefaultEnabled).AppendJSON(b) })
	b = appendString(append(b, `,"type":`...), featureType(o.Flag.Multivariate))
	b = o.Value.AppendJSON(append(b, `},"feature_state_value":`...))
	b = appendMember(b, `,"environment":`, shown, func(b []byte) []byte { return evaluation.Int(int64(env.ID)).AppendJSON(b) })
	b = evaluation.Bool(o.Enabled).AppendJSON(append(b, `,"identity":null,"feature_segment":null,"enabled":`...))
	b = appendMember(b, `,"variant":`, o.Variant != "", func(b []byte) []byte { return appendString(b, o.Variant) })
	b = appendString(append(b, `,"reason":`...), o.Reason)
	return slices.Clip(append(b, '}'))
}

// appendMember writes a member that may have to be null.
func appendMember(b []byte, name string, shown bool, value func([]byte) []byte) []byte {
	b = append(b, name...)
	if !shown {
		return append(b, "null"...)
	}
	return value(b)
}

func featureType(multivariate bool) string {
	if multivariate {
		return "MULTIVARIATE"
	}
	return "STANDARD"
}

// sdkTime is how SDKs get a time: with microseconds and a numeric zone, since
// older Pythons read neither other fractions nor the letter Z.
const sdkTime = "2006-01-02T15:04:05.000000-07:00"

func appendTime(b []byte, t time.Time) []byte {
	return append(t.UTC().AppendFormat(append(b, '"'), sdkTime), '"')
}

func appendString(b []byte, s string) []byte { return evaluation.String(s).AppendJSON(b) }
