package projections

import "flagledger/domain"

// Compile makes the snapshot of an environment from the previous one.
func (v *Views) Compile(previous *Snapshot, p *domain.Project, env *domain.Environment) (*Snapshot, error) {
	return v.compile(previous, p, env, head{})
}
