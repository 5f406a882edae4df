package access

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"go.etcd.io/bbolt"

	"flagledger/domain"
	"flagledger/eventstore/streams"
)

// layout is the number of the layout of the file. It changes with what is below.
const layout = 2

// The buckets of the file. Ids are the 16 bytes of a UUID, so that keys sort by
// time.
var (
	bucketRecords = []byte("records") // id -> record, as JSON
	bucketIndex   = []byte("index")   // term, id -> nothing
)

// term is what records can be found by: a hash, to be short whatever the parts.
// That two have the same does no harm, since records are looked at again.
func term(parts ...string) []byte {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return sum[:8]
}

// terms are those of a record.
func (r Record) terms() [][]byte {
	all := [][]byte{term("project", r.Project), term("actor", r.Actor.ID)}
	known := map[string]bool{}
	for _, o := range r.Objects {
		all = append(all, term("object", r.Project, o))
		for _, group := range groups(o) {
			if !known[group] {
				known[group] = true
				all = append(all, term("any", r.Project, group))
			}
		}
	}
	return all
}

// groups are the filters that stand for all of an object's kind; see domain.Object.Groups.
func groups(object string) []string {
	o, err := domain.ParseObject(object)
	if err != nil {
		return nil
	}
	var names []string
	for _, group := range o.Groups() {
		names = append(names, group.String())
	}
	return names
}

// keep stores records, with the position of the last message that was read, in
// one transaction.
func (s *Store) keep(records []Record, end uint64) error {
	oldest := idAt(s.Now().Add(-s.Retention))
	return s.file.Keep(end, func(tx *bbolt.Tx) error {
		stored, index := tx.Bucket(bucketRecords), tx.Bucket(bucketIndex)
		for _, r := range records {
			id := uuid.MustParse(r.ID) // decode has seen to it
			body, err := json.Marshal(r)
			if err != nil {
				return err
			}
			if err := stored.Put(id[:], body); err != nil {
				return err
			}
			for _, t := range r.terms() {
				if err := index.Put(append(t, id[:]...), nil); err != nil {
					return err
				}
			}
		}
		return trim(stored, index, oldest)
	})
}

// trimLimit is how many records one transaction forgets at most.
const trimLimit = 1000

// trim forgets records before the oldest.
func trim(stored, index *bbolt.Bucket, oldest uuid.UUID) error {
	c := stored.Cursor()
	for range trimLimit {
		id, body := c.First()
		if id == nil || bytes.Compare(id, oldest[:]) >= 0 {
			return nil
		}
		var r Record
		if err := json.Unmarshal(body, &r); err != nil {
			return fmt.Errorf("%w: decode access %x: %w", streams.ErrDamaged, id, err)
		}
		for _, t := range r.terms() {
			if err := index.Delete(append(t, id...)); err != nil {
				return err
			}
		}
		if err := c.Delete(); err != nil {
			return err
		}
	}
	return nil
}

// A Query says which records are wanted. Zero values want all.
type Query struct {
	Project  string // key
	Object   string // of the project; "segment:*" and "identity:live/*" are any of the kind
	Actor    string // id
	From, To time.Time
	Before   string // id of a record: those that come behind it, which are older
	Limit    int
	// Visible tells which records may be shown, by their project and environment.
	Visible func(project, environment string) bool
}

// scanLimit is how many records are looked at to fill a page. A question that
// finds few of many is answered in several pages, not all of them full.
const scanLimit = 5000

// List returns records, newest first, and the id to ask on with as Before, ""
// at the end.
func (s *Store) List(q Query) (found []Record, next string, err error) {
	first := idAt(s.Now().Add(-s.Retention)) // also where nothing has come that would have trimmed
	if from := idAt(q.From); bytes.Compare(from[:], first[:]) > 0 && !q.From.IsZero() {
		first = from
	}
	end := uuid.Max
	if !q.To.IsZero() {
		end = idAt(q.To)
	}
	if q.Before != "" {
		before, err := uuid.Parse(q.Before)
		if err != nil {
			return nil, "", fmt.Errorf("read accesses before %q: %w", q.Before, err)
		}
		if bytes.Compare(before[:], end[:]) < 0 {
			end = before
		}
	}
	err = s.file.View(func(tx *bbolt.Tx) error {
		stored := tx.Bucket(bucketRecords)
		looked, last := 0, uuid.UUID{}
		for id := range q.ids(tx, end) {
			if bytes.Compare(id[:], first[:]) < 0 {
				return nil
			}
			if len(found) == q.Limit || looked == scanLimit {
				next = last.String()
				return nil
			}
			last, looked = id, looked+1
			var r Record
			if err := json.Unmarshal(stored.Get(last[:]), &r); err != nil {
				return fmt.Errorf("%w: decode access %s: %w", streams.ErrDamaged, last, err)
			}
			if q.wants(r) {
				found = append(found, r)
			}
		}
		return nil
	})
	if err != nil {
		return nil, "", fmt.Errorf("read accesses: %w", err)
	}
	return found, next, nil
}

// ids are those of the records to look at that come before the end, newest
// first, where the fewest are: in one place, or together in several.
func (q Query) ids(tx *bbolt.Tx, end uuid.UUID) iter.Seq[uuid.UUID] {
	bucket, prefixes := tx.Bucket(bucketIndex), [][]byte{}
	switch {
	case q.Object != "":
		for _, o := range q.objects() {
			prefixes = append(prefixes, term("object", q.Project, o))
		}
		prefixes = append(prefixes, term("any", q.Project, q.Object))
	case q.Actor != "":
		prefixes = append(prefixes, term("actor", q.Actor))
	case q.Project != "":
		prefixes = append(prefixes, term("project", q.Project))
	default:
		bucket, prefixes = tx.Bucket(bucketRecords), append(prefixes, nil)
	}
	return func(yield func(uuid.UUID) bool) {
		cursors, at := make([]*bbolt.Cursor, len(prefixes)), make([][]byte, len(prefixes))
		for i, prefix := range prefixes {
			cursors[i] = bucket.Cursor()
			if at[i], _ = cursors[i].Seek(append(slices.Clip(prefix), end[:]...)); at[i] == nil {
				at[i], _ = cursors[i].Last()
			} else {
				at[i], _ = cursors[i].Prev()
			}
		}
		for {
			var newest []byte
			for i, prefix := range prefixes {
				if bytes.HasPrefix(at[i], prefix) && bytes.Compare(at[i][len(prefix):], newest) > 0 {
					newest = at[i][len(prefix):]
				}
			}
			if newest == nil || !yield(uuid.UUID(newest)) {
				return
			}
			for i, prefix := range prefixes {
				if bytes.HasPrefix(at[i], prefix) && bytes.Equal(at[i][len(prefix):], newest) {
					at[i], _ = cursors[i].Prev()
				}
			}
		}
	}
}

// objects are the one that is wanted and those that stand for all of its kind.
func (q Query) objects() []string {
	return append(groups(q.Object), q.Object)
}

// isAbout tells whether the record has the object that is wanted, or one of all
// that are.
func (q Query) isAbout(r Record) bool {
	wanted := q.objects()
	return slices.ContainsFunc(r.Objects, func(o string) bool { return slices.Contains(wanted, o) || slices.Contains(groups(o), q.Object) })
}

func (q Query) wants(r Record) bool {
	return (q.Project == "" || r.Project == q.Project) && (q.Object == "" || q.isAbout(r)) &&
		(q.Actor == "" || r.Actor.ID == q.Actor) && (q.Visible == nil || q.Visible(r.Project, r.Environment))
}
