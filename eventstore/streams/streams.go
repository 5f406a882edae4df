// Package streams reads JetStream streams in their order, from a position on
// and for as long as more comes: the log, and what is kept beside it.
//
// Servers come and go meanwhile. While a cluster elects a leader nobody answers a
// request, and for some time after a server was lost new consumers are still
// assigned to it: so a request is made again while there is no answer ([Ask]). A
// consumer that died with its server, or a message that got lost between two
// servers, makes no error either: a [Reader] notices both within seconds and
// ends. What is to be done is the same after every end, so there is one loop for
// it ([Persist]): open another Reader behind the last message.
package streams

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// askAgain is after how long without an answer a request is made again, and
	// patience how long that goes on.
	askAgain = 500 * time.Millisecond
	patience = 5 * time.Second
)

var errNoAnswer = fmt.Errorf("no answer within %v", patience)

// Ask makes a request that does no harm when it is made more than once, and
// makes it again each half second while nobody answers, for five seconds or
// until ctx ends. The first answer counts, whatever it says and to whichever
// request it is: a slow one is not forgotten.
func Ask[T any](ctx context.Context, request func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errNoAnswer)
	defer cancel()
	type answer struct {
		is  T
		err error
	}
	answers := make(chan answer, patience/askAgain+1)
	again := time.NewTicker(askAgain)
	defer again.Stop()
	for {
		go func() {
			is, err := request(ctx)
			answers <- answer{is, err}
		}()
		select {
		case a := <-answers:
			if a.err != nil && ctx.Err() != nil {
				a.err = context.Cause(ctx)
			}
			return a.is, a.err
		case <-again.C:
		}
	}
}

// AskOn is Ask without an end but that of ctx.
func AskOn[T any](ctx context.Context, request func(context.Context) (T, error)) (answer T, err error) {
	for {
		if answer, err = Ask(ctx, request); !errors.Is(err, errNoAnswer) {
			return answer, err
		}
	}
}

// A LostError says that a stream is not there that there has been.
type LostError struct{ Stream string }

func (e *LostError) Error() string {
	return fmt.Sprintf("stream %s is gone, which must be there when there are commits", e.Stream)
}

// Reopen returns the stream of that name, which there has been: where it is not
// there that is a [*LostError].
func Reopen(ctx context.Context, js jetstream.JetStream, config jetstream.StreamConfig) (jetstream.Stream, error) {
	stream, err := Ask(ctx, func(ctx context.Context) (jetstream.Stream, error) { return js.Stream(ctx, config.Name) })
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, &LostError{config.Name}
	}
	return stream, err
}

// Open returns the stream of that name, as it is, or creates it where there is
// none.
func Open(ctx context.Context, js jetstream.JetStream, config jetstream.StreamConfig) (jetstream.Stream, error) {
	stream, err := Reopen(ctx, js, config)
	if _, ok := errors.AsType[*LostError](err); ok {
		stream, err = Ask(ctx, func(ctx context.Context) (jetstream.Stream, error) { return js.CreateStream(ctx, config) })
	}
	return stream, err
}

// The pauses of Persist: the first, and the longest.
const firstPause, lastPause = 100 * time.Millisecond, time.Second

// Persist does something until it succeeds or ctx is done. It pauses a little
// longer each time, unless progress has become another number meanwhile. Of
// failures in a row the first is logged.
func Persist(ctx context.Context, log *slog.Logger, doing string, progress func() uint64, do func() error) {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		before := progress()
		err := do()
		if err == nil || ctx.Err() != nil {
			return
		}
		if progress() != before {
			pause = firstPause
		}
		if pause == firstPause {
			log.Warn(doing+" failed, trying again", "error", err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}
