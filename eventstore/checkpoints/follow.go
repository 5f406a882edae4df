package checkpoints

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"flagledger/domain/transparency"
	"flagledger/eventstore/streams"
)

// compare holds a checkpoint against the tree, which has as many leaves.
func (l *Log) compare(c transparency.Signed) error {
	if c.Size == 0 {
		return nil
	}
	root, err := l.tree.TreeRoot(c.Size)
	if err != nil {
		return fmt.Errorf("compute root at %d: %w", c.Size, err)
	}
	if root == c.Root {
		return nil
	}
	return l.fail(fmt.Errorf("the log is not the one that was signed: at position %d its root is %s here, and %s in the checkpoint %q; one of the two logs was altered", c.Size, root, c.Root, c.Note))
}

// follow compares what is in the stream, from its position on, until something
// fails. It ends without an error only after a difference was found.
func (l *Log) follow(ctx context.Context, stream jetstream.Stream, end func(context.Context) (uint64, error), caughtUp chan struct{}) error {
	info, err := streams.Ask(ctx, func(ctx context.Context) (*jetstream.StreamInfo, error) { return stream.Info(ctx) })
	if err != nil {
		return fmt.Errorf("ask for the end of the stream: %w", err)
	}
	last := info.State.LastSeq
	behind := max(l.position.Load(), last-min(last, compared))
	reader := streams.Read(stream, behind)
	defer reader.Close()
	for {
		if l.failed() != nil {
			return nil
		}
		l.mu.Lock()
		if !l.compared && max(l.position.Load(), behind) >= last {
			l.compared = true
			close(caughtUp)
		}
		l.mu.Unlock()
		msg, err := reader.Next(ctx)
		if errors.Is(err, streams.ErrQuiet) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read behind position %d: %w", l.position.Load(), err)
		}
		if err := l.receive(ctx, msg, end); err != nil {
			return err
		}
		l.position.Store(msg.Position)
	}
}

// receive compares one message. What cannot be read is no checkpoint: it is
// counted and passed over.
func (l *Log) receive(ctx context.Context, msg streams.Message, end func(context.Context) (uint64, error)) error {
	vkeys := msg.Header.Values(HeaderKey)
	verifiers, err := transparency.Verifiers(vkeys...)
	var c transparency.Signed
	if err == nil {
		c, err = transparency.OpenCheckpoint(string(msg.Data), verifiers)
	}
	if err != nil {
		l.unreadable.Add(1)
		l.Logger.Error("a message in the stream of checkpoints is none, and is passed over", "position", msg.Position, "error", err)
		return nil
	}
	if c.Origin != l.origin {
		_ = l.fail(fmt.Errorf("the log here begins as %s, but the checkpoint %q is of another: the log was replaced, or altered from its first commit on", l.origin, c.Note))
		return nil
	}
	if err := l.await(ctx, c, end); err != nil || l.failed() != nil {
		return err
	}
	if err := l.compare(c); err != nil && l.failed() == nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.Size > l.known.Size {
		l.known = c
	}
	if c.Size > l.own.Size && slices.Equal(vkeys, vkeysOf(l.keys)) {
		l.own, l.ownAt = c, msg.Time
	}
	for _, vkey := range vkeys {
		l.others[vkey] = max(l.others[vkey], c.Size)
	}
	return nil
}

// await waits until the tree has as many leaves as the checkpoint, and fails when
// the log itself has not: what was signed was published only after it was
// recorded.
func (l *Log) await(ctx context.Context, c transparency.Signed, end func(context.Context) (uint64, error)) error {
	const tries = 5
	for range tries {
		short, cancel := context.WithTimeout(ctx, l.Lag/tries)
		err := l.tree.Wait(short, c.Size)
		cancel()
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
	}
	last, err := end(ctx)
	if err != nil {
		return fmt.Errorf("find the end of the log: %w", err)
	}
	if last < c.Size {
		_ = l.fail(fmt.Errorf("the log has lost commits: it ends at position %d, but the checkpoint %q covers %d", last, c.Note, c.Size))
		return nil
	}
	return l.tree.Wait(ctx, c.Size)
}
