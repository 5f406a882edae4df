package identities

import (
	"context"
	"slices"
	"sync"
	"time"
)

// A change is what is still to be stored of a person: that there is one, or
// traits. A person has at most one; it ends when nothing is left to store. The
// shard guards it.
type change struct {
	environment *environment
	shard       *shard
	person      *person
	seed        seed          // of a person that is new
	isNew       bool          // the person is not in the stream yet
	exists      chan struct{} // closed when it is, or the change is done; nil when nobody waits
	done        bool          // everything is stored, or the person is erased

	stored record  // as the streams have it, as of person.sequence
	sent   []Trait // changes that are being stored
	next   []Trait // changes made since
	at     int64   // when the last one was made, Unix milliseconds
}

// pending tells whether the person is still to be stored.
func (c *change) pending() bool {
	c.shard.mu.RLock()
	defer c.shard.mu.RUnlock()
	return c.isNew && !c.done
}

// isStored notes what the stream has of the person now.
func (c *change) isStored(p *person) {
	c.stored = p.record
	c.person.record = c.view()
	c.exist()
}

// exist wakes who waits for the person to be stored.
func (c *change) exist() {
	c.isNew = false
	if c.exists != nil {
		close(c.exists)
		c.exists = nil
	}
}

// view is what is stored with the changes.
func (c *change) view() record {
	r, _ := c.stored.change(c.sent, c.at)
	r, _ = r.change(c.next, c.at)
	return r
}

// send gathers what is to be stored now. different tells whether that differs
// from what is.
func (c *change) send() (r record, different bool) {
	c.sent, c.next = overlay(c.sent, c.next), nil
	return c.stored.change(c.sent, c.at)
}

// A queue holds the changes until the writer takes them. At any time a change
// is either in it or with the writer.
type queue struct {
	mu      sync.Mutex
	waiting []*change
	unsaved int // changes that are not done
	limit   int
	closed  bool
	idle    chan struct{} // closed when nothing is unsaved; nil when nobody waits for it

	wake  chan struct{} // something is waiting
	hurry chan struct{} // and should not wait longer
}

func newQueue(limit int) *queue {
	return &queue{limit: limit, wake: make(chan struct{}, 1), hurry: make(chan struct{}, 1)}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// add takes a new change, unless there are too many. Someone who waits for it
// insists.
func (q *queue) add(c *change, insist bool) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.unsaved >= q.limit && !insist {
		return false
	}
	q.unsaved++
	q.push(c)
	return true
}

// push is called with the lock held.
func (q *queue) push(changes ...*change) {
	q.waiting = append(q.waiting, changes...)
	q.call()
}

// call tells the writer what waits. The lock is held.
func (q *queue) call() {
	if len(q.waiting) > 0 {
		signal(q.wake)
	}
	if len(q.waiting) >= batchMessages || len(q.waiting) > 0 && q.idle != nil {
		signal(q.hurry)
	}
}

// giveBack returns changes that are not done, perhaps such as should not wait
// again.
func (q *queue) giveBack(changes []*change, hurry bool) {
	if len(changes) == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.push(changes...)
	if hurry {
		signal(q.hurry)
	}
}

// take returns the first n changes, or all.
func (q *queue) take(n int) []*change {
	q.mu.Lock()
	defer q.mu.Unlock()
	n = min(n, len(q.waiting))
	taken := slices.Clone(q.waiting[:n])
	clear(q.waiting[:n])
	q.waiting = q.waiting[n:]
	select {
	case <-q.hurry: // was for these
	default:
	}
	q.call()
	return taken
}

// release counts a change that is done.
func (q *queue) release() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.unsaved--
	if q.unsaved == 0 && q.idle != nil {
		close(q.idle)
		q.idle = nil
	}
}

// prefer moves a change to the front, if it waits, and the writer on.
func (q *queue) prefer(c *change) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := slices.Index(q.waiting, c); i > 0 {
		copy(q.waiting[1:i+1], q.waiting[:i])
		q.waiting[0] = c
	}
	signal(q.hurry)
}

// wait returns when nothing is unsaved.
func (q *queue) wait(ctx context.Context) error {
	q.mu.Lock()
	if q.unsaved == 0 {
		q.mu.Unlock()
		return nil
	}
	if q.idle == nil {
		q.idle = make(chan struct{})
	}
	idle := q.idle
	q.mu.Unlock()
	signal(q.hurry)
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}

func (q *queue) size() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.unsaved
}

// pause waits until the time is over or someone is in a hurry (nil: nobody is). It reports false
// when the context ended.
func pause(ctx context.Context, d time.Duration, hurry <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-hurry:
	case <-ctx.Done():
		return false
	}
	return true
}
