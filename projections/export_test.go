package projections

import (
	"context"

	"go.etcd.io/bbolt"

	"flagledger/domain"
)

// Compile makes the snapshot of an environment from the previous one.
func (v *Views) Compile(previous *Snapshot, p *domain.Project, env *domain.Environment) (*Snapshot, error) {
	return v.compile(previous, p, env, head{})
}

// BeforeWriting is called before each transaction from now on, which fails with its error.
func (v *Views) BeforeWriting(do func() error) {
	v.writer.mu.Lock()
	defer v.writer.mu.Unlock()
	v.writer.write = func(b *batch) error {
		if err := do(); err != nil {
			return err
		}
		return v.write(b)
	}
}

// Written returns when the file has what is visible.
func (v *Views) Written() error { return v.writer.wait(v.Position()) }

// Scan selects what Audit does, but looks at every commit to tell whether it may be seen.
func (v *Views) Scan(ctx context.Context, q AuditQuery) (selected []Entry, err error) {
	all := q
	all.Scopes = nil
	entries, _, err := v.Audit(ctx, all)
	if err != nil {
		return nil, err
	}
	err = v.view(func(tx *bbolt.Tx) error {
		for _, e := range entries {
			one, err := v.readEntry(tx, e.Position, q)
			if err != nil {
				return err
			}
			if one != nil {
				selected = append(selected, *one)
			}
		}
		return nil
	})
	return selected, err
}
