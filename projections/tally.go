package projections

import (
	"iter"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"weak"

	"flagledger/domain/evaluation"
)

// A Label says what evaluations came to.
type Label struct {
	Feature string // key
	Outcome string // what decided: "environment", "segment:<key>" or "identity"
	Variant string // "" where there was no split
}

const (
	byEnvironment = "environment"
	bySegment     = "segment:"
	byIdentity    = "identity"
)

// A Tally counts the evaluations of one environment. It is shared by the
// environment's snapshots, one after the other, so that none takes counts with
// it. Counting takes about a nanosecond: each label has a slot, which its
// outcomes know, and each processor counts for itself.
type Tally struct {
	shards []tallyShard

	mu     sync.Mutex // guards what follows
	labels []Label    // by slot
	slots  map[Label]uint32
	groups []*tallyGroup
}

// A tallyShard is what one processor counts. Its lock is taken once for all the
// outcomes of an answer: one that nobody else holds costs less than two counts
// that processors would have to agree on.
type tallyShard struct {
	mu     sync.Mutex
	counts []uint64 // by slot; may be shorter than there are slots
	_      [96]byte // other processors' shards lie in other cache lines
}

// A tallyGroup is the outcomes of an answer that is the same for everybody, so
// that sending it counts as one. It ends with its snapshot.
type tallyGroup struct {
	snapshot weak.Pointer[Snapshot]
	outcomes []*evaluation.Outcome
	sent     atomic.Uint64
}

// tallyShards is among how many places the counting of one label is spread.
var tallyShards = min(runtime.GOMAXPROCS(0), 16)

// shardNumbers gives a goroutine the shard that was used last on its processor.
var shardNumbers = sync.Pool{New: func() any {
	n := int(lastShard.Add(1)) % tallyShards
	return &n
}}

var lastShard atomic.Uint32

func newTally() *Tally {
	return &Tally{shards: make([]tallyShard, tallyShards), slots: map[Label]uint32{}}
}

// slot returns the slot of a label.
func (t *Tally) slot(l Label) uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if slot, ok := t.slots[l]; ok {
		return slot
	}
	slot := uint32(len(t.labels))
	t.labels = append(t.labels, l)
	t.slots[l] = slot
	return slot
}

// Count counts one evaluation for each of the outcomes, which are of snapshots
// that share the Tally. It may be called at any time.
func (t *Tally) Count(outcomes ...*evaluation.Outcome) {
	number := shardNumbers.Get().(*int)
	shard := &t.shards[*number]
	shard.mu.Lock()
	for _, o := range outcomes {
		for int(o.Slot) >= len(shard.counts) {
			shard.counts = append(shard.counts, 0)
		}
		shard.counts[o.Slot]++
	}
	shard.mu.Unlock()
	shardNumbers.Put(number)
}

// CountPrepared counts one evaluation for each outcome in an answer of the
// snapshot that is the same for everybody. Answer names it within the snapshot;
// outcomes tells what is in it, and is called once.
func (s *Snapshot) CountPrepared(answer any, outcomes func(*Snapshot) []*evaluation.Outcome) {
	g, ok := s.groups.Load(answer)
	if !ok {
		g, ok = s.groups.LoadOrStore(answer, &tallyGroup{snapshot: weak.Make(s), outcomes: outcomes(s)})
		if !ok {
			s.Tally.mu.Lock()
			s.Tally.groups = append(s.Tally.groups, g.(*tallyGroup))
			s.Tally.mu.Unlock()
		}
	}
	g.(*tallyGroup).sent.Add(1)
}

// Drain passes on what was counted since it was called last.
func (t *Tally) Drain(add func(Label, uint64)) {
	var counts []uint64
	for i := range t.shards {
		counts = t.shards[i].drain(counts)
	}
	t.mu.Lock()
	labels := t.labels // after the shards: what was counted has one
	t.groups = slices.DeleteFunc(t.groups, func(g *tallyGroup) bool {
		over := g.snapshot.Value() == nil // asked first: nobody can count from now on
		if n := g.sent.Swap(0); n > 0 {
			for _, o := range g.outcomes {
				add(labels[o.Slot], n)
			}
		}
		return over
	})
	t.mu.Unlock()
	for slot, n := range counts {
		if n > 0 {
			add(labels[slot], n)
		}
	}
}

// drain adds what the shard counted to counts, by slot.
func (s *tallyShard) drain(counts []uint64) []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if more := len(s.counts) - len(counts); more > 0 {
		counts = append(counts, make([]uint64, more)...)
	}
	for slot, n := range s.counts {
		counts[slot] += n
	}
	clear(s.counts)
	return counts
}

// Snapshots are the newest ones of all environments.
func (v *Views) Snapshots() iter.Seq2[EnvironmentID, *Snapshot] {
	return maps.All(v.published.Load().snapshots)
}
