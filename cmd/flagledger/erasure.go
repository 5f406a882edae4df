package main

import (
	"context"
	"fmt"

	"flagledger/domain"
	"flagledger/projections"
)

// completeErasures erases who is recorded as erased and still stored: a process that ended right after it recorded the erasure left that to the
// next start. Of what is erased already it only reads the record.
func (l *ledger) completeErasures(ctx context.Context) error {
	const page = 500
	for below := uint64(0); ; {
		entries, next, err := l.views.Audit(projections.AuditQuery{Type: domain.IdentityErased{}.EventType(), Below: below, Limit: page})
		if err != nil {
			return fmt.Errorf("look for erasures to complete: %w", err)
		}
		for _, e := range entries {
			for _, c := range e.Changes {
				if !erases(e.Commit.Events, c.Object) {
					continue
				}
				id := projections.EnvironmentID{Project: e.Commit.Project, ID: c.EnvironmentID}
				identifier := l.Identifier(id, c.Object.Key)
				if identifier == "" {
					continue
				}
				if _, _, err := l.Erase(ctx, id, identifier); err != nil {
					return fmt.Errorf("complete the erasure at position %d: %w", e.Position, err)
				}
				l.log.Info("an erasure was completed that had only been recorded", "position", e.Position)
			}
		}
		if next == 0 {
			return nil
		}
		below = next
	}
}

// erases tells whether one of the events erased the person.
func erases(events []domain.Event, person domain.Object) bool {
	for _, e := range events {
		if e, ok := e.(domain.IdentityErased); ok && person.Kind == domain.KindIdentity && e.Identity == person.Key && e.Environment == person.Environment {
			return true
		}
	}
	return false
}
