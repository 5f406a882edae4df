package projections

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// writeWithin is how long a commit that can be seen waits for others to share
	// its transaction. A crash costs that they are applied again, from the log.
	writeWithin = 20 * time.Millisecond
	// writtenWithin is how long a reader waits for a transaction.
	writtenWithin = 10 * time.Second
	// After a transaction that failed the next one is tried a little later, each time.
	firstPause, lastPause = 10 * time.Millisecond, 5 * time.Second
)

// A writer writes batches to the file, behind the states that were made of them:
// the log has it all already. There is one transaction at a time, with all that
// came while the one before was under way. It begins as soon as somebody waits
// for it or it is full, or else when its first commit has waited for writeWithin.
// One that fails is tried again.
type writer struct {
	write   func(*batch) error // carries one out, in one transaction
	log     *slog.Logger
	durable atomic.Uint64 // position of the last transaction

	mu      sync.Mutex // guards what follows
	waiting *batch     // what the next transaction will have; nil: nothing yet
	under   *batch     // what the one under way has; nil: there is none
	soon    bool       // the next one begins when the one under way has ended
	later   *time.Timer
	ended   chan struct{} // closed at the end of the transaction under way
	failure error         // of the last transaction
	pause   time.Duration // before it is tried again
	closed  bool
}

// add hands over a batch, the next one.
func (w *writer) add(b *batch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting != nil {
		w.waiting.add(b)
	} else {
		w.waiting = b
		if w.failure == nil {
			w.beginIn(writeWithin)
		}
	}
	if w.waiting.full() && w.failure == nil {
		w.begin()
	}
}

// room waits until another batch may be made, so that the memory that is taken
// by what is not yet written is bounded.
func (w *writer) room() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.waiting != nil && w.waiting.full() {
		if w.failure != nil {
			return w.failure
		}
		if w.closed {
			return errors.New("the views are closed")
		}
		w.begin()
		w.untilEnded()
	}
	return nil
}

// wait returns when the file has the position. It is an error where that is not
// going to be soon.
func (w *writer) wait(position uint64) error {
	if w.durable.Load() >= position {
		return nil
	}
	var late <-chan time.Time
	for {
		w.mu.Lock()
		if w.failure == nil && (w.under == nil || w.under.position < position) {
			w.begin()
		}
		ended, failure, nothing := w.ended, w.failure, w.under == nil
		w.mu.Unlock()
		switch {
		case w.durable.Load() >= position:
			return nil
		case failure != nil:
			return failure
		case nothing:
			return fmt.Errorf("nothing up to position %d is to be written", position)
		}
		if late == nil {
			late = time.After(writtenWithin)
		}
		select {
		case <-ended:
		case <-late:
			return fmt.Errorf("position %d was not written within %v", position, writtenWithin)
		}
	}
}

// answer finds what an idempotency key led to among what is not yet in the file.
func (w *writer) answer(key []byte) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range []*batch{w.waiting, w.under} {
		if b != nil {
			if value := b.answers[string(key)]; value != nil {
				return value
			}
		}
	}
	return nil
}

// err is why the last transaction failed, or nil.
func (w *writer) err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failure
}

// drop forgets what waits and returns when no transaction is under way.
func (w *writer) drop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.waiting = nil; w.under != nil; w.waiting = nil { // which one that fails waits again
		w.untilEnded()
	}
	w.stopTimer()
	w.failure, w.pause = nil, 0
}

// close writes what waits, if it can be written now, and nothing after it.
func (w *writer) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.begin(); w.under != nil; w.begin() {
		w.untilEnded()
		if w.failure != nil {
			break
		}
	}
	w.closed = true
	w.stopTimer()
}

// What follows is called with mu held.

// begin begins a transaction with what waits, or when the one under way has ended.
func (w *writer) begin() {
	if w.waiting == nil || w.closed {
		return
	}
	if w.soon = w.under != nil; w.soon {
		return
	}
	w.stopTimer()
	w.under, w.waiting, w.ended = w.waiting, nil, make(chan struct{})
	go w.carryOut(w.under)
}

func (w *writer) beginIn(d time.Duration) {
	w.stopTimer()
	w.later = time.AfterFunc(d, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.begin()
	})
}

func (w *writer) stopTimer() {
	if w.later != nil {
		w.later.Stop()
	}
}

// untilEnded waits for the transaction under way, without mu.
func (w *writer) untilEnded() {
	if ended := w.ended; w.under != nil {
		w.mu.Unlock()
		<-ended
		w.mu.Lock()
	}
}

// carryOut is the transaction. It has a goroutine of its own.
func (w *writer) carryOut(b *batch) {
	err := w.write(b)
	w.mu.Lock()
	defer w.mu.Unlock()
	defer close(w.ended)
	w.under = nil
	if err != nil {
		if w.failure == nil {
			w.log.Error("the views cannot be written; it is tried again, and what is in memory is served meanwhile", "error", err)
		}
		if w.waiting != nil {
			b.add(w.waiting)
		}
		w.waiting, w.failure, w.soon = b, err, false
		w.pause = min(max(2*w.pause, firstPause), lastPause)
		w.beginIn(w.pause)
		return
	}
	if w.failure != nil {
		w.log.Info("the views are written again", "position", b.position)
	}
	w.durable.Store(b.position)
	w.failure, w.pause = nil, 0
	if w.soon {
		w.soon = false
		w.begin()
	}
}
