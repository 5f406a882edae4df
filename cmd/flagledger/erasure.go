package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"flagledger/domain"
	"flagledger/eventstore/identities"
	"flagledger/projections"
)

// completeErasures erases who is recorded as erased and still stored: a process that ended right after it recorded the erasure left that to the
// next start. Of what is erased already it only reads the record.
func (l *ledger) completeErasures(ctx context.Context) error {
	return l.eachChange(ctx, domain.IdentityErased{}, func(e projections.Entry, c projections.Change) error {
		if !erases(e.Commit.Events, c.Object) {
			return nil
		}
		id := projections.EnvironmentID{Project: e.Commit.Project, ID: c.EnvironmentID}
		identifier := l.Identifier(id, c.Object.Key)
		if identifier == "" {
			return nil
		}
		if _, _, err := l.Erase(ctx, id, identifier); err != nil {
			return fmt.Errorf("complete the erasure at position %d: %w", e.Position, err)
		}
		l.log.Info("an erasure was completed that had only been recorded", "position", e.Position)
		return nil
	})
}

// dropDeleted removes who is stored in environments that were deleted behind a position: nobody could be erased there any more. It returns the position
// up to which that is done.
func (l *ledger) dropDeleted(ctx context.Context, behind uint64) (uint64, error) {
	end := l.views.Position()
	err := l.eachChange(ctx, domain.EnvironmentDeleted{}, func(e projections.Entry, c projections.Change) error {
		if e.Position <= behind {
			return errEnough
		}
		if c.Object.Kind != domain.KindEnvironment {
			return nil
		}
		before, err := environmentNumber(c.Before)
		if err != nil {
			return err
		}
		after, err := environmentNumber(c.After) // another one may have the key
		if err != nil || before == after || before == 0 {
			return err
		}
		if err := l.opened.Load().persons.Drop(ctx, identities.EnvironmentToken(e.Commit.Project, before)); err != nil {
			return fmt.Errorf("environment %s, deleted at position %d: %w", c.Object.Key, e.Position, err)
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return behind, err
	}
	return end, nil
}

// environmentNumber is the number of an environment in its image, 0 where it is not there.
func environmentNumber(image json.RawMessage) (int32, error) {
	var env struct {
		ID int32 `json:"id"`
	}
	if image == nil {
		return 0, nil
	}
	if err := json.Unmarshal(image, &env); err != nil {
		return 0, fmt.Errorf("read the image of an environment: %w", err)
	}
	return env.ID, nil
}

// eachChange visits what the commits with an event of that type changed, newest first.
func (l *ledger) eachChange(ctx context.Context, event domain.Event, visit func(projections.Entry, projections.Change) error) error {
	const page = 500
	for below := uint64(0); ; {
		entries, next, err := l.views.Audit(ctx, projections.AuditQuery{Type: event.EventType(), Below: below, Limit: page})
		if err != nil {
			return fmt.Errorf("look for events %s: %w", event.EventType(), err)
		}
		for _, e := range entries {
			for _, c := range e.Changes {
				if err := visit(e, c); err != nil {
					return err
				}
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
