package projections

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"flagledger/domain"
	"flagledger/domain/transparency"
)

// maxBatch is how much a transaction may write while catching up, in bytes, so
// that the memory it takes does not depend on what is in the log.
const maxBatch = 64 << 20

// A batch is one or more commits that share a state: what they change of the one
// before, and what they write.
type batch struct {
	base     *state // before it
	contents *domain.Contents

	position    uint64
	commits     int
	size        int                        // of what it writes, in bytes
	projects    map[string]*domain.Project // changed ones
	heads       map[EnvironmentID]head     // changed ones
	touched     map[EnvironmentID]string   // environments to compile, with their keys
	keysTouched bool                       // SDK keys, tokens or environments changed

	writes  map[string][]write         // by bucket
	made    []madeVersion              // in their order
	terms   noted                      // for the index
	term    []byte                     // the one noted last
	groups  map[domain.Object][]string // see groupsOf
	dropped [][]byte                   // environments whose objects are removed, as their keys begin
	tree    transparency.Frontier
	hashes  []tlog.Hash       // of the tree, to be stored behind those of base
	answers map[string][]byte // by key of the bucket
}

func newBatch(base *state, contents *domain.Contents) *batch {
	return &batch{
		base: base, contents: contents, position: base.position, tree: base.tree.Clone(),
		projects: map[string]*domain.Project{}, heads: map[EnvironmentID]head{}, touched: map[EnvironmentID]string{},
		writes: map[string][]write{}, groups: map[domain.Object][]string{}, answers: map[string][]byte{},
	}
}

// add adds to what the batch writes what the next one does.
func (b *batch) add(next *batch) {
	b.position, b.commits, b.size = next.position, b.commits+next.commits, b.size+next.size
	maps.Copy(b.projects, next.projects)
	maps.Copy(b.heads, next.heads)
	maps.Copy(b.answers, next.answers)
	for bucket, writes := range next.writes {
		b.writes[bucket] = append(b.writes[bucket], writes...)
	}
	b.terms.addAll(&next.terms)
	b.made = append(b.made, next.made...)
	b.dropped = append(b.dropped, next.dropped...)
	b.hashes = append(b.hashes, next.hashes...)
}

// full tells whether the batch must be written before the next commit comes to
// it. It ends with a part of the index, so that each part is written once.
func (b *batch) full() bool { return b.size >= maxBatch || (b.position+1)%(1<<partBits) == 0 }

func (b *batch) project(id string) *domain.Project {
	if p := b.projects[id]; p != nil {
		return p
	}
	if p := b.base.projects[id]; p != nil {
		return p
	}
	return &domain.Project{ID: id}
}

// head returns the newest version of an environment, to be changed and put back.
func (b *batch) head(id EnvironmentID) head {
	if h, ok := b.heads[id]; ok {
		return h
	}
	return b.base.heads[id]
}

func (b *batch) apply(rec domain.Recorded) error {
	before := b.project(rec.Project)
	at := domain.Stamp{Position: rec.Position, Time: rec.RecordedAt.UTC()}
	after, objects := before.Evolve(rec.Events, at)
	b.projects[rec.Project] = after
	b.position = rec.Position
	b.commits++
	b.hashes = append(b.hashes, b.tree.Append(rec.LeafHash)...)

	record := commitRecord{Project: cmp.Or(after.Key, before.Key)}
	for _, o := range objects {
		for _, number := range environmentNumbers(before, after, o.Environment) {
			id := EnvironmentID{rec.Project, number}
			record.Objects = append(record.Objects, objectRef{o.String(), number})
			if err := b.writeImage(id, o, imageIn(before, number, o), imageIn(after, number, o), rec.Position); err != nil {
				return fmt.Errorf("write image of %.200s: %w", o, err)
			}
		}
		b.touch(after, o, at)
	}
	if slices.ContainsFunc(objects, func(o domain.Object) bool { return o.Kind == domain.KindEnvironment || o.Kind == domain.KindProject }) {
		b.dropEnvironments(before, after)
	}
	record.Versions = b.advanceVersions(before, after, objects, rec.Position)
	if err := b.writeCommit(rec, record, before, after, objects); err != nil {
		return fmt.Errorf("write commit: %w", err)
	}
	if rec.IdempotencyKey != "" {
		b.answers[string(answerKey(rec.Project, rec.IdempotencyKey))] = append(bigEndian(rec.Position), rec.RequestHash...)
	}
	return nil
}

// environmentNumbers are the numbers of an object's environment: two where the
// commit removes an environment and makes another of its key, and 0 where the
// object belongs to none, or to one that came and went within the commit.
func environmentNumbers(before, after *domain.Project, key string) []int32 {
	var numbers []int32
	for _, p := range []*domain.Project{before, after} {
		if env := p.Environments.Get(key); env != nil && !slices.Contains(numbers, env.ID) {
			numbers = append(numbers, env.ID)
		}
	}
	if numbers == nil {
		numbers = []int32{0}
	}
	return numbers
}

// imageIn is the object as it stands in the environment of that number.
func imageIn(p *domain.Project, number int32, o domain.Object) any {
	if env := p.Environments.Get(o.Environment); env != nil && env.ID != number {
		return nil
	}
	return p.Get(o)
}

func (b *batch) writeImage(id EnvironmentID, o domain.Object, before, after any, position uint64) error {
	if before == nil && after == nil {
		return nil
	}
	key := objectKey(id, o)
	if after == nil {
		b.delete(bucketCurrent, key)
		b.put(bucketHistory, historyKey(key, position), nil)
		return nil
	}
	image, err := encode(after)
	if err != nil {
		return err
	}
	b.put(bucketCurrent, key, image)
	b.put(bucketHistory, historyKey(key, position), image)
	return nil
}

// touch notes which environments must be compiled again.
func (b *batch) touch(after *domain.Project, o domain.Object, at domain.Stamp) {
	one := func(key string, env *domain.Environment) {
		id := EnvironmentID{after.ID, env.ID}
		b.touched[id] = key
		h := b.head(id)
		if h.touched.Position != at.Position { // the first of its objects here
			h.modified = max(h.modified+1, at.Time.Unix())
		}
		h.touched = at
		b.heads[id] = h
	}
	switch o.Kind {
	case domain.KindToken, domain.KindSDKKey, domain.KindEnvironment:
		b.keysTouched = true
	}
	switch o.Kind {
	case domain.KindToken, domain.KindSDKKey:
	case domain.KindProject, domain.KindFeature, domain.KindSegment, domain.KindContext:
		for key, env := range after.Environments.All() {
			one(key, env)
		}
	case domain.KindEnvironment:
		if env := after.Environments.Get(o.Key); env != nil {
			one(o.Key, env)
		}
	default:
		if env := after.Environments.Get(o.Environment); env != nil {
			one(o.Environment, env)
		}
	}
}

// dropEnvironments removes what is left of environments that are gone.
func (b *batch) dropEnvironments(before, after *domain.Project) {
	for key, env := range before.Environments.All() {
		if now := after.Environments.Get(key); now != nil && now.ID == env.ID {
			continue
		}
		id := EnvironmentID{before.ID, env.ID}
		b.touched[id] = key
		b.dropped = append(b.dropped, environmentKey(id))
	}
}

// commitRecord is what is kept of a commit for the audit, beside the commit as
// it was recorded.
type commitRecord struct {
	Project  string            `json:"project,omitempty"` // key; none for the organisation
	Objects  []objectRef       `json:"objects"`
	Versions map[string]uint64 `json:"versions,omitempty"` // by environment: the version it led to
}

// bytes is the value of the bucket of commits: when it was recorded, the length
// of the record, the record and the commit.
func (r commitRecord) bytes(rec domain.Recorded) ([]byte, error) {
	record, err := encode(r)
	if err != nil {
		return nil, err
	}
	value := make([]byte, 0, 12+len(record)+len(rec.Raw))
	value = binary.BigEndian.AppendUint64(value, uint64(rec.RecordedAt.UnixNano()))
	value = binary.BigEndian.AppendUint32(value, uint32(len(record)))
	return append(append(value, record...), rec.Raw...), nil
}

// parseCommit takes such a value apart.
func parseCommit(value []byte) (at time.Time, record, raw []byte) {
	n := 12 + binary.BigEndian.Uint32(value[8:])
	return time.Unix(0, int64(binary.BigEndian.Uint64(value))).UTC(), value[12:n], value[n:]
}

// objectRef names an object with the number of its environment.
type objectRef struct {
	Object      string `json:"o"`
	Environment int32  `json:"e,omitempty"`
}

func (b *batch) writeCommit(rec domain.Recorded, record commitRecord, before, after *domain.Project, objects []domain.Object) error {
	value, err := record.bytes(rec)
	if err != nil {
		return err
	}
	b.put(bucketCommits, bigEndian(rec.Position), value)
	b.noteTerms(rec, record, before, after, objects)
	return nil
}
