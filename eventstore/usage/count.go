package usage

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// An hour is a number of hours since 1970, in UTC.
type hour uint32

func hourOf(t time.Time) hour   { return hour(max(t.Unix(), 0) / 3600) }
func (h hour) start() time.Time { return time.Unix(int64(h)*3600, 0).UTC() }

// rowsPerPart bounds a message: a row takes at most 800 bytes, and NATS by
// default 1 MiB.
const rowsPerPart = 1000

// A part is what one message holds: counts of one hour.
type part struct {
	number  uint32
	hour    hour
	rows    []*row
	changed bool // since it was written
}

type row struct {
	Key
	Count uint64 `json:"count"`
	part  *part
}

// place is where something is counted.
type place struct {
	Key
	hour hour
}

// Total names a number of evaluations in an environment since the start of the
// process.
type Total struct {
	Project     string
	Environment int32
	Source      Source
	Kind        string // the outcome without the segment: environment, segment or identity; "" for SDKs
}

// Add counts n evaluations now. It does not wait for anything.
func (s *Store) Add(k Key, n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kind, _, _ := strings.Cut(k.Outcome, ":")
	s.totals[Total{k.Project, k.Environment, k.Source, kind}] += n
	at := place{k, hourOf(s.Now())}
	r := s.places[at]
	if r == nil {
		if len(s.places) >= s.MaxRows {
			s.dropped.Add(n)
			return
		}
		r = &row{Key: k, part: s.partOf(at.hour)}
		r.part.rows = append(r.part.rows, r)
		s.places[at] = r
	}
	r.Count += n
	r.part.changed = true
}

// partOf is a part of the hour that is not full. Only the newest can be one: it
// is the clock that says which hour it is.
func (s *Store) partOf(h hour) *part {
	if last := len(s.parts) - 1; last >= 0 && s.parts[last].hour == h && len(s.parts[last].rows) < rowsPerPart {
		return s.parts[last]
	}
	s.number++
	p := &part{number: s.number, hour: h}
	s.parts = append(s.parts, p)
	return p
}

// forget drops the parts of past hours that are written: nothing is added to
// them any more.
func (s *Store) forget() {
	now := hourOf(s.Now())
	s.parts = slices.DeleteFunc(s.parts, func(p *part) bool {
		done := p.hour != now && !p.changed
		if done {
			for _, r := range p.rows {
				delete(s.places, place{r.Key, p.hour})
			}
		}
		return done
	})
}

// collect takes over what was counted elsewhere.
func (s *Store) collect() {
	if s.Collect == nil {
		return
	}
	s.collecting.Lock()
	defer s.collecting.Unlock()
	s.Collect(s.Add)
}

// Totals returns what this process has counted since its start, including what
// is still to be collected.
func (s *Store) Totals() map[Total]uint64 {
	s.collect()
	s.mu.Lock()
	defer s.mu.Unlock()
	totals := make(map[Total]uint64, len(s.totals))
	maps.Copy(totals, s.totals)
	return totals
}
