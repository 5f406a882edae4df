package domain

import (
	"time"

	"flagledger/domain/evaluation"
)

// An Identity is a person or thing that apps evaluate flags for, as the
// identity store holds it. The log knows it only by its surrogate. It is
// immutable once handed out.
type Identity struct {
	Surrogate  string // random UUID
	Identifier string
	Traits     []evaluation.Trait // by key
	Created    time.Time
	Updated    time.Time
}
