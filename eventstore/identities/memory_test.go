package identities

import (
	"testing"

	"github.com/google/uuid"
)

// Where the last person of a bucket is erased, someone can be stored before the
// erased one arrives here, and must not be displaced by that one.
func TestNewest(t *testing.T) {
	s := &Store{erased: map[uuid.UUID]struct{}{}, owed: map[uint64]struct{}{}}
	e := &environment{token: "p.1"}
	erased := &person{identifier: "ada", surrogate: uuid.New(), position: 50}
	later := &person{identifier: "ada", surrogate: uuid.New(), position: 100}

	s.newest(e, later)
	s.newest(e, erased)
	s.forget(e, erased.surrogate)
	if p, ok := e.find("ada"); !ok || p.surrogate != later.surrogate {
		t.Errorf("found %+v, %t", p, ok)
	}

	// A mark before its record, as with a record that is late.
	s.forget(e, later.surrogate)
	s.newest(e, later)
	if p, ok := e.find("ada"); ok {
		t.Errorf("found %+v, who is erased", p)
	}
	if _, owed := s.owed[100]; !owed {
		t.Error("the erased record is not going to be overwritten")
	}
}
