// Package migrations keeps old history readable.
//
// The log is never rewritten: an event stays as it was recorded, under the type
// it had then, such as "segment.rules_set.v1". When the shape of an event
// changes, it gets the next version and this package an upcaster, a pure
// function from the JSON of one version to that of the next. Readers pass each
// event through [Upcast], so that the rest of the program knows only the
// current versions.
//
// docs/events.md tells how to change an event. Never edit an
// upcaster that has been released: what it made of an old event is part of
// every digest since.
package migrations

import (
	"encoding/json"
	"fmt"
)

// SchemaVersion is the number of the layout of the projections' file. A file
// with another number is rebuilt from the log.
const SchemaVersion = 10

// steps holds, by the type they read, the upcasters of all old event versions.
var steps = chain{
	"segment.created.v1": {to: "segment.created.v2", up: segmentCreatedV1},
}

// Upcast brings a recorded event to the current version of its type. An event
// that is current already comes back as it is, as does one of a type not known
// here: whether it can be decoded is for the decoder to say.
func Upcast(eventType string, data json.RawMessage) (string, json.RawMessage, error) {
	return steps.upcast(eventType, data)
}

// A step leads from one version of an event to the next.
type step struct {
	to string
	up func(json.RawMessage) (json.RawMessage, error)
}

// A chain is a table of steps by the event type they start from. It has no
// cycles, because every step leads to a higher version.
type chain map[string]step

func (c chain) upcast(eventType string, data json.RawMessage) (string, json.RawMessage, error) {
	for {
		s, ok := c[eventType]
		if !ok {
			return eventType, data, nil
		}
		next, err := s.up(data)
		if err != nil {
			return "", nil, fmt.Errorf("upcast %s to %s: %w", eventType, s.to, err)
		}
		eventType, data = s.to, next
	}
}
