package projections

import "flagledger/domain"

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
