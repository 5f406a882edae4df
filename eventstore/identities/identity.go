package identities

import (
	"strconv"
	"time"

	"github.com/google/uuid"

	"flagledger/domain"
	"flagledger/domain/evaluation"
)

// An Environment names the environment a person belongs to: two tokens of a
// NATS subject, made by [EnvironmentToken].
type Environment string

// EnvironmentToken is the name of an environment for ever: ids are not used
// again. A project id is a UUID, so it can be part of a subject.
func EnvironmentToken(project string, env int32) Environment {
	return Environment(project + "." + strconv.FormatInt(int64(env), 10))
}

type (
	// Identity is a person as the store knows it now. The surrogate of one that
	// was identified just now can still change, when another process stored the
	// same person first; that of [Store.Surrogate] cannot.
	Identity = domain.Identity
	// Trait is one attribute of a person.
	Trait = evaluation.Trait
)

// A person is what memory holds of an identity. The shard it is in guards it.
//
// A million of them are held, so it is as small as it can be: 96 bytes, the
// identifier and the record.
type person struct {
	identifier string
	surrogate  uuid.UUID
	key        key    // zero until the person is first sent to the stream
	record     record // as it is now, changes that are not stored yet included
	position   uint64 // sequence of the person in the persons stream; 0: not there yet
	sequence   uint64 // of the newest record in the traits stream that is part of record; 0: none
}

// identity makes what is handed out. p may be a copy.
func (p *person) identity(c contents) *Identity {
	return &Identity{
		Surrogate:  p.surrogate.String(),
		Identifier: p.identifier,
		Traits:     c.traits,
		Created:    time.UnixMilli(c.created).UTC(),
		Updated:    time.UnixMilli(c.updated).UTC(),
	}
}

// now returns the person as it is.
func (p *person) now() *Identity {
	c, _ := p.record.decode() // checked when it came into memory
	return p.identity(c)
}
