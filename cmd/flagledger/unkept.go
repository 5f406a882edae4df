package main

import (
	"context"
	"fmt"

	"flagledger/domain"
	"flagledger/eventstore/identities"
	"flagledger/eventstore/streams"
)

// sweep deletes what is stored of persons and not kept any more, now and each time that a project changes what it keeps, until ctx is done: traits that
// it does not keep, from which nobody is answered since the moment it was said, and all of an environment that is deleted.
func (l *ledger) sweep(ctx context.Context) {
	dropped := uint64(0)
	for l.views.Wait(ctx, l.unkeptAt.Load()) == nil { // the commit may share a transaction with others that follow
		streams.Persist(ctx, l.log, "delete the persons of deleted environments", l.views.Position, func() (err error) {
			dropped, err = l.dropDeleted(ctx, dropped)
			return err
		})
		streams.Persist(ctx, l.log, "delete traits that are not kept", l.views.Position, func() error { return l.deleteUnkept(ctx) })
		select {
		case <-l.unkept:
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

// unkeeps tells whether a commit may change what is kept of persons.
func unkeeps(c domain.Commit) bool {
	for _, e := range c.Events {
		switch e.(type) {
		case domain.ContextSet, domain.ContextRemoved, domain.ProjectUpdated, domain.EnvironmentDeleted:
			return true
		}
	}
	return false
}
