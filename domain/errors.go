package domain

import (
	"encoding/json"
	"fmt"
)

// Kind classes a refusal; each has one HTTP status.
type Kind string

// The kinds of refusal.
const (
	NotFound     Kind = "not_found"     // the object named does not exist
	Malformed    Kind = "malformed"     // the request cannot be read as what it should be
	Invalid      Kind = "invalid"       // well-formed, but it cannot work
	Conflict     Kind = "conflict"      // exists already, in use, or changed meanwhile
	Stale        Kind = "stale"         // If-Match names an older revision
	LimitReached Kind = "limit_reached" // a limit of the installation
	Forbidden    Kind = "forbidden"     // known, but not allowed
	Unauthorized Kind = "unauthorized"  // not known
	TooLarge     Kind = "too_large"     // the request or the commit is too large
	Unsupported  Kind = "unsupported"   // the body is encoded in a way that is not read here
	TooOften     Kind = "too_often"     // more requests than a rate allows
	Unavailable  Kind = "unavailable"   // the log or a view cannot be reached now
)

// Error is a refusal: what was wrong, with which value, and what to do.
type Error struct {
	Kind   Kind
	Detail string
	Field  string // where in the request, such as "rules[0].conditions[2]"; may be empty
	// Errors lists the single findings where there are several.
	Errors []FieldError
	// Revision is the current revision for Stale, and 0 otherwise.
	Revision uint64
	// Shows are the objects of whose content the refusal tells. Whoever is refused
	// has looked at them.
	Shows []Shown
}

// Shown is an object as it was shown to somebody.
type Shown struct {
	Object Object
	Image  json.RawMessage
}

// A FieldError is one finding in a request.
type FieldError struct {
	Field  string `json:"field"`
	Detail string `json:"detail"`
	Fix    string `json:"fix,omitempty"`
}

func (e *Error) Error() string {
	if e.Field == "" {
		return e.Detail
	}
	return e.Field + ": " + e.Detail
}

// Refuse makes a refusal.
func Refuse(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Detail: fmt.Sprintf(format, args...)}
}

// RefuseField makes a refusal of one field's value.
func RefuseField(kind Kind, field, format string, args ...any) *Error {
	return &Error{Kind: kind, Field: field, Detail: fmt.Sprintf(format, args...)}
}
