package domain

import (
	"encoding/json"
	"time"
)

// A Selection picks commits of a project by what they have in common. Empty
// fields pick all; a Selection without any picks none.
type Selection struct {
	Position      uint64 // of one commit
	Actor         string // id
	ChangeRequest string
	CorrelationID string
	From, To      time.Time // recorded at; From inclusive, To exclusive
}

// A PastChange is what a commit did to one object.
type PastChange struct {
	Position      uint64
	Object        Object
	Before, After json.RawMessage // nil where the object did not exist
}
