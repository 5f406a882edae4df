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
// it. Counting takes a few nanoseconds: each label has a slot, which its
// outcomes know, and each processor counts for itself.
type Tally struct {
	blocks atomic.Pointer[[]tallyBlock] // slots of which there may be more with each snapshot

	mu     sync.Mutex // guards what follows
	labels []Label    // by slot
	slots  map[Label]uint32
	groups []*tallyGroup
}

// A tallyGroup is the outcomes of an answer that is the same for everybody, so
// that sending it counts as one. It ends with its snapshot.
type tallyGroup struct {
	snapshot weak.Pointer[Snapshot]
	outcomes []*evaluation.Outcome
	sent     atomic.Uint64
}

// A tallyBlock has the counts of some slots in each shard.
type tallyBlock [][tallyBlockSize]atomic.Uint64

const tallyBlockSize = 256

// tallyShards is among how many places the counting of one label is spread.
var tallyShards = min(runtime.GOMAXPROCS(0), 16)

// shardNumbers gives a goroutine the shard that was used last on its processor.
var shardNumbers = sync.Pool{New: func() any {
	n := int(lastShard.Add(1)) % tallyShards
	return &n
}}

var lastShard atomic.Uint32

func newTally() *Tally {
	t := &Tally{slots: map[Label]uint32{}}
	t.blocks.Store(new([]tallyBlock))
	return t
}

// slot returns the slot of a label.
func (t *Tally) slot(l Label) uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if slot, ok := t.slots[l]; ok {
		return slot
	}
	slot := uint32(len(t.labels))
	if slot%tallyBlockSize == 0 {
		old := *t.blocks.Load()
		blocks := append(old[:len(old):len(old)], make(tallyBlock, tallyShards))
		t.blocks.Store(&blocks)
	}
	t.labels = append(t.labels, l)
	t.slots[l] = slot
	return slot
}

// Count counts one evaluation for each of the outcomes, which are of snapshots
// that share the Tally. It may be called at any time.
func (t *Tally) Count(outcomes ...*evaluation.Outcome) {
	shard := shardNumbers.Get().(*int)
	blocks := *t.blocks.Load()
	for _, o := range outcomes {
		blocks[o.Slot/tallyBlockSize][*shard][o.Slot%tallyBlockSize].Add(1)
	}
	shardNumbers.Put(shard)
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
	t.mu.Lock()
	labels := t.labels
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
	blocks := *t.blocks.Load()
	for slot, l := range labels {
		n := uint64(0)
		for shard := range tallyShards {
			count := &blocks[slot/tallyBlockSize][shard][slot%tallyBlockSize]
			if count.Load() > 0 { // mostly it is not
				n += count.Swap(0)
			}
		}
		if n > 0 {
			add(l, n)
		}
	}
}

// Snapshots are the newest ones of all environments.
func (v *Views) Snapshots() iter.Seq2[EnvironmentID, *Snapshot] {
	return maps.All(v.published.Load().snapshots)
}
