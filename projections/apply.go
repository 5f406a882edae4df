package projections

import (
	"fmt"
	"maps"

	"flagledger/domain"
)

// Apply takes the next commit. pending is how many more are known to follow:
// with 0, everything is visible when Apply returns; otherwise commits share a
// state, and a transaction. They are written to the file behind it (see writer).
// After an error the log must be read again from Reached; nothing that was
// visible goes back.
func (v *Views) Apply(rec domain.Recorded, pending uint64) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.batch == nil {
		if err := v.writer.room(); err != nil {
			return fmt.Errorf("apply commit %d: %w", rec.Position, err)
		}
		v.batch = newBatch(v.newest, &v.contents)
	}
	v.catchUp.note(v.batch.position, rec.Position+pending)
	if rec.Position <= v.batch.position {
		return nil
	}
	if err := v.apply(rec, pending); err != nil {
		err = fmt.Errorf("apply commit %d: %w", rec.Position, err)
		v.batch = nil
		v.failed = rec.Position
		v.failure.Store(&err)
		return err
	}
	if rec.Position >= v.failed { // they catch up, and have come past it
		v.failure.Store(nil)
		v.failed = 0
	}
	return nil
}

func (v *Views) apply(rec domain.Recorded, pending uint64) error {
	if at := v.batch.position; rec.Position != at+1 {
		return fmt.Errorf("the log has a gap: the last commit was %d", at)
	}
	if err := v.batch.apply(rec); err != nil {
		return err
	}
	if pending > 0 && !v.batch.full() && rec.Position > v.failed {
		return nil
	}
	return v.finish(pending)
}

// finish makes the state after the batch, which the writer gets, and readers
// see. The first time, and after Rebuild, they see it when it is complete.
func (v *Views) finish(pending uint64) error {
	b := v.batch
	if b.base.position == 0 && pending > 0 {
		v.building.Store(true)
	}
	complete := !v.building.Load() || pending == 0 && b.position >= v.Position()
	next, err := v.publishable(b, complete)
	if err != nil {
		return err
	}
	v.newest, v.batch = next, nil
	v.reached.Store(next.position)
	v.applied.Add(uint64(b.commits))
	v.catchUp.log(v.log, next.position, pending)
	v.writer.add(b) // before it is seen: who then asks for its past finds it there, or in the file
	if complete {
		v.publish(next)
		v.building.Store(false)
	}
	return nil
}

// publish lets readers see the state.
func (v *Views) publish(next *state) {
	previous := v.published.Swap(next)
	close(previous.next)
	for id, snap := range previous.snapshots {
		if next.snapshots[id] != snap {
			close(snap.superseded)
		}
	}
}

// publishable makes the state after the batch. Only one that is complete is
// published, and needs snapshots.
func (v *Views) publishable(b *batch, complete bool) (*state, error) {
	next := &state{
		position: b.position, projects: maps.Clone(b.base.projects), snapshots: maps.Clone(b.base.snapshots), uncompiled: !complete,
		keys: b.base.keys, tokens: b.base.tokens, heads: maps.Clone(b.base.heads), tree: b.tree, next: make(chan struct{}),
	}
	maps.Copy(next.projects, b.projects)
	maps.Copy(next.heads, b.heads)
	if b.keysTouched {
		next.indexKeys()
	}
	touched := b.touched
	if b.base.uncompiled {
		touched = next.environments()
		maps.DeleteFunc(next.snapshots, func(id EnvironmentID, _ *Snapshot) bool { return touched[id] == "" })
	}
	if !complete {
		return next, nil
	}
	for id, key := range touched {
		p := next.projects[id.Project]
		env := p.Environments.Get(key)
		if env == nil || env.ID != id.ID {
			delete(next.snapshots, id)
			continue
		}
		snap, err := v.compile(next.snapshots[id], p, env, next.heads[id])
		if err != nil {
			return nil, err
		}
		next.snapshots[id] = snap
	}
	return next, nil
}

// environments are the keys of all that there are.
func (st *state) environments() map[EnvironmentID]string {
	all := map[EnvironmentID]string{}
	for _, p := range st.projects {
		for key, env := range p.Environments.All() {
			all[EnvironmentID{p.ID, env.ID}] = key
		}
	}
	return all
}
