package main

import (
	"context"
	"errors"
	"iter"
	"path/filepath"

	"flagledger/domain/transparency"
	"flagledger/eventstore"
	"flagledger/eventstore/checkpoints"
	httpapi "flagledger/http"
)

// keyFile is where the keys are that sign checkpoints.
func keyFile(given, dataDir string) string {
	if given != "" {
		return given
	}
	return filepath.Join(dataDir, "signing.key")
}

// signed is the ledger as HTTP needs it for the transparency log.
type signed struct {
	ledger *ledger
	log    *checkpoints.Log
}

// Checkpoint implements httpapi.Transparency.
func (s signed) Checkpoint(ctx context.Context) (transparency.Signed, error) {
	return s.log.Checkpoint(ctx)
}

// Checkpoints implements httpapi.Transparency.
func (s signed) Checkpoints(ctx context.Context) iter.Seq2[string, error] { return s.log.All(ctx) }

// Keys implements httpapi.Transparency.
func (s signed) Keys() []httpapi.LogKey {
	var all []httpapi.LogKey
	for _, k := range s.log.Keys() {
		all = append(all, httpapi.LogKey(k))
	}
	return all
}

// errEnough ends the reading of the log.
var errEnough = errors.New("enough")

// Leaves implements httpapi.Transparency. They come from the log itself, not from
// what the views keep of it.
func (s signed) Leaves(ctx context.Context, from, to uint64, each func(transparency.Leaf) error) error {
	o := s.ledger.opened.Load()
	if o == nil {
		return s.ledger.notReached()
	}
	err := o.store.Load(ctx, from, func(m eventstore.Message) error {
		if err := each(m.Leaf()); err != nil {
			return err
		}
		if m.Position >= to {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	if err == nil {
		err = errors.New("the log ends too early")
	}
	return err
}
