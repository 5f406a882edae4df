package domain

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
)

// A Commit is what was recorded of one change: who, when, why, and the events
// it consists of, all or nothing. It is the payload of one message of the log.
type Commit struct {
	ID      string    `json:"id"`      // UUIDv7, also the message's de-duplication id
	Project string    `json:"project"` // id of the project, or OrganisationID
	Time    time.Time `json:"time"`    // the recording process's clock, UTC
	Actor   Actor     `json:"actor"`
	Client  Client    `json:"client,omitzero"`
	Source  Source    `json:"source"`
	Reason  string    `json:"reason,omitempty"`
	Ticket  string    `json:"ticket,omitempty"`

	CausationID   string `json:"causation_id,omitempty"`   // the commit that led to this one
	CorrelationID string `json:"correlation_id,omitempty"` // shared by all commits of one undertaking
	ChangeRequest string `json:"change_request,omitempty"` // id of the approved proposal

	// TestsOverridden says that cases of rules broke, and were allowed to.
	TestsOverridden bool `json:"tests_overridden,omitempty"`

	// IdempotencyKey and RequestHash (hex SHA-256 of the request) let the views
	// answer a retry with the first answer, also after a rebuild.
	IdempotencyKey string `json:"idempotency_key,omitempty"`
	RequestHash    string `json:"request_hash,omitempty"`

	Events []Event `json:"-"`
}

// Recorded is a commit with its place in the log.
type Recorded struct {
	Commit
	Position   uint64    // stream sequence, 1 or more
	RecordedAt time.Time // the stream's own timestamp; grows with Position
	Raw        []byte    // the payload exactly as recorded
	LeafHash   [32]byte  // in the transparency log; see package transparency
}

// Stamp says which commit last touched an object, and when.
type Stamp struct {
	Position uint64    `json:"position"`
	Time     time.Time `json:"time"`
}

// ActorKinds are the kinds of actors.
var ActorKinds = []string{"token", "system"}

// An Actor is who asked for a change.
type Actor struct {
	Kind       string `json:"kind"` // one of ActorKinds
	ID         string `json:"id"`
	Name       string `json:"name,omitempty"` // display name at that time
	Token      string `json:"token,omitempty"`
	OnBehalfOf string `json:"on_behalf_of,omitempty"`
}

// A Client is where a change was asked from.
type Client struct {
	IP        string `json:"ip,omitempty"`
	UserAgent string `json:"user_agent,omitempty"`
	RequestID string `json:"request_id,omitempty"`
}

// Trim takes away the blanks that begin or end a text, also those of no width, so
// that a reason of blanks is none.
func Trim(text string) string {
	return strings.TrimFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.Is(unicode.Cf, r) })
}

// Source is the way a change came in.
type Source string

// The sources of a change.
const (
	SourceAPI      Source = "api"
	SourceCLI      Source = "cli"
	SourceConsole  Source = "console"
	SourceRollback Source = "rollback"
	SourceSchedule Source = "schedule"
	SourceGuard    Source = "guard"
	SourceImport   Source = "import"
	SourceSystem   Source = "system"
)

// sources are all there are.
var sources = []Source{SourceAPI, SourceCLI, SourceConsole, SourceRollback, SourceSchedule, SourceGuard, SourceImport, SourceSystem}

// Known tells whether there is such a source.
func (s Source) Known() bool { return slices.Contains(sources, s) }

// KnownSources lists them for people.
func KnownSources() string {
	names := make([]string, len(sources))
	for i, s := range sources {
		names[i] = string(s)
	}
	return strings.Join(names, ", ")
}

// envelope is the wire form of a commit: events become {type, data} pairs, which
// are read as RawEvent and written as typedEvent.
type envelope[E RawEvent | typedEvent] struct {
	*plainCommit
	Events []E `json:"events"`
}

type plainCommit Commit // Commit without its methods

// RawEvent is an event as it stands in the log.
type RawEvent struct {
	Type string          `json:"type"`
	Data json.RawMessage `json:"data"`
}

type typedEvent struct {
	Type string `json:"type"`
	Data Event  `json:"data"`
}

// MarshalJSON writes the recorded form.
func (c Commit) MarshalJSON() ([]byte, error) {
	events := make([]typedEvent, len(c.Events))
	for i, e := range c.Events {
		events[i] = typedEvent{e.EventType(), e}
	}
	p := plainCommit(c)
	return json.Marshal(envelope[typedEvent]{&p, events})
}

// DecodeCommit reads the recorded form. Each event passes through upcast
// first, which brings older versions to the current one (nil: none needed).
func DecodeCommit(payload []byte, upcast func(RawEvent) (RawEvent, error)) (Commit, error) {
	var p plainCommit
	env := envelope[RawEvent]{plainCommit: &p}
	if err := json.Unmarshal(payload, &env); err != nil {
		return Commit{}, fmt.Errorf("decode commit: %w", err)
	}
	c := Commit(p)
	c.Events = make([]Event, len(env.Events))
	for i, raw := range env.Events {
		if upcast != nil {
			var err error
			if raw, err = upcast(raw); err != nil {
				return Commit{}, fmt.Errorf("commit %s: upcast event %d (%s): %w", c.ID, i, raw.Type, err)
			}
		}
		e, err := decodeEvent(raw)
		if err != nil {
			return Commit{}, fmt.Errorf("commit %s: event %d: %w", c.ID, i, err)
		}
		c.Events[i] = e
	}
	return c, nil
}
