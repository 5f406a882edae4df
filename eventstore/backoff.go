package eventstore

import (
	"context"
	"time"
)

// A backoff waits longer each time: first, twice that, and so on up to limit.
type backoff struct {
	first, limit time.Duration
	next         time.Duration
}

// wait returns early, with the context's error, when ctx ends.
func (b *backoff) wait(ctx context.Context) error {
	b.next = min(max(b.first, b.next), b.limit)
	timer := time.NewTimer(b.next)
	defer timer.Stop()
	b.next *= 2
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reset makes the next wait short again.
func (b *backoff) reset() { b.next = 0 }
