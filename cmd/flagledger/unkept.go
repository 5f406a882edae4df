package main

import (
	"context"
	"fmt"

	"flagledger/domain"
	"flagledger/eventstore/identities"
	"flagledger/eventstore/streams"
)

// sweepTraits deletes what is stored of traits that a project does not keep, now and each time that a project says anew what it keeps, until ctx is done.
// Nobody is answered from them since the moment it was said.
func (l *ledger) sweepTraits(ctx context.Context) {
	for {
		streams.Persist(ctx, l.log, "delete traits that are not kept", l.views.Position, func() error { return l.deleteUnkept(ctx) })
		select {
		case <-l.declared:
		case <-ctx.Done():
			return
		}
	}
}

func (l *ledger) deleteUnkept(ctx context.Context) error {
	for _, p := range l.views.Projects() {
		if p.KeepsAll() {
			continue
		}
		for key, env := range p.Environments.All() {
			swept, err := l.opened.Load().persons.Sweep(ctx, identities.EnvironmentToken(p.ID, env.ID), p.Keeps)
			if err != nil {
				return fmt.Errorf("sweep environment %s of project %s: %w", key, p.Key, err)
			}
			if swept > 0 {
				l.log.Info("traits were deleted that are not kept any more", "project", p.Key, "environment", key, "identities", swept)
			}
		}
	}
	return nil
}

// declares tells whether a commit may change which traits are kept.
func declares(c domain.Commit) bool {
	for _, e := range c.Events {
		switch e.(type) {
		case domain.ContextSet, domain.ContextRemoved, domain.ProjectUpdated:
			return true
		}
	}
	return false
}
