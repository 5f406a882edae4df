package eventstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"flagledger/domain"
)

// The errors below unwrap to a *domain.Error as well, so that a caller who does
// not know this package still answers with the right kind of refusal.

// ConflictError says that the project's log has moved on: the commit is not
// recorded, and cannot be with the expectation it came with.
type ConflictError struct {
	Project  string // id
	Expected uint64 // what Append was given
	Last     uint64 // position of the project's last commit; 0 if there is none or it is not known
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("project %s: expected last position %d, found %d", e.Project, e.Expected, e.Last)
}

// Unwrap gives the refusal, of kind Conflict.
func (e *ConflictError) Unwrap() error {
	return domain.Refuse(domain.Conflict, "the project was changed at the same time; try again")
}

// UnavailableError says that the log cannot be reached or cannot record now.
// What was to be appended is not recorded.
type UnavailableError struct {
	Doing       string // such as "append commit 0197..."
	StorageFull bool   // for want of disk space
	Err         error
}

func (e *UnavailableError) Error() string { return e.Doing + ": " + e.Err.Error() }

// Unwrap gives the refusal, of kind Unavailable, and the cause.
func (e *UnavailableError) Unwrap() []error {
	detail := "the log cannot be reached now; try again later"
	if e.StorageFull {
		detail = "the log has no space left"
	}
	return []error{domain.Refuse(domain.Unavailable, "%s", detail), e.Err}
}

// UnknownOutcomeError says that the commit may be recorded, now or within
// moments, and that it was not possible to find out. Appending the same commit
// again settles it.
type UnknownOutcomeError struct {
	CommitID string
	Err      error // why it is not known; an UnavailableError tells a full disk
}

func (e *UnknownOutcomeError) Error() string {
	return fmt.Sprintf("append commit %s: outcome not known: %v", e.CommitID, e.Err)
}

// Unwrap gives the refusal, of kind Unavailable, and the cause.
func (e *UnknownOutcomeError) Unwrap() []error {
	return []error{
		domain.Refuse(domain.Unavailable, "it is not known whether the change was recorded; send it again with the same Idempotency-Key"),
		e.Err,
	}
}

// TooLargeError says that a commit exceeds what one message can hold.
type TooLargeError struct {
	CommitID string
	Limit    int64 // in bytes, headers included
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("append commit %s: larger than %d bytes", e.CommitID, e.Limit)
}

// Unwrap gives the refusal, of kind TooLarge.
func (e *TooLargeError) Unwrap() error {
	return domain.Refuse(domain.TooLarge, "the change makes a commit of more than %d bytes; split it", e.Limit)
}

// A duplicateError says that a commit id was used before, for another project.
type duplicateError struct {
	id, subject string
	position    uint64
}

func (e *duplicateError) Error() string {
	return fmt.Sprintf("commit id %s stands already at position %d, subject %s", e.id, e.position, e.subject)
}

// HistoryError says that the log is not the history it was: a position is
// missing, or it ends before what was read from it earlier. No reader goes on.
type HistoryError struct {
	Position uint64 // the one that should have come next
	Found    uint64 // the one that came instead, or the last of the log
}

func (e *HistoryError) Error() string {
	if e.Found < e.Position {
		return fmt.Sprintf("the log ends at position %d, but %d was read before: it is another log, or an older copy", e.Found, e.Position-1)
	}
	return fmt.Sprintf("position %d is missing in the log, %d follows", e.Position, e.Found)
}

// Codes of server errors that the client library does not name.
const (
	codeAccountExceeded    jetstream.ErrorCode = 10002
	codeNoPeers            jetstream.ErrorCode = 10005
	codeNotLeader          jetstream.ErrorCode = 10009
	codeResourcesExceeded  jetstream.ErrorCode = 10023
	codeStorageExceeded    jetstream.ErrorCode = 10047
	codeNoReplicas         jetstream.ErrorCode = 10074
	codeStoreFailed        jetstream.ErrorCode = 10077
	codeDuplicateInProcess jetstream.ErrorCode = 10158

	statusBadRequest  = 400
	statusUnavailable = 503
)

// An outcome is what the answer to one attempt to append means.
type outcome int

const (
	unknown   outcome = iota // the attempt may succeed yet, or has
	away                     // certainly not recorded; the log may be back soon
	stale                    // certainly not recorded: the expectation does not hold
	contended                // certainly not recorded: another commit of the subject is under way
	tooLarge                 // certainly not recorded, ever
	full                     // certainly not recorded, for want of space
	refused                  // certainly not recorded, for a reason that stays
)

// outcomeOf classifies the error of an attempt. Only what is certain counts as
// certain: whatever is not listed is unknown.
func outcomeOf(err error) outcome {
	if apiErr, ok := errors.AsType[*jetstream.APIError](err); ok {
		switch apiErr.ErrorCode {
		case jetstream.JSErrCodeStreamWrongLastSequence:
			return stale
		case jetstream.JSErrCodeStreamWrongLastSequenceConstant:
			return contended
		case jetstream.JSErrCodeStreamMessageExceedsMaximum:
			return tooLarge
		case codeResourcesExceeded, codeAccountExceeded, codeStorageExceeded:
			return full
		case codeStoreFailed, // how far the write came is not said
			codeDuplicateInProcess: // an earlier attempt of ours is under way
			return unknown
		case codeNotLeader:
			return away
		}
		if apiErr.Code == statusUnavailable {
			return away
		}
		return refused
	}
	if _, ok := errors.AsType[*duplicateError](err); ok {
		return refused
	}
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return tooLarge
	// Nothing is sent while disconnected, for the reconnect buffer is off.
	case errors.Is(err, nats.ErrReconnectBufExceeded),
		errors.Is(err, nats.ErrNoResponders),
		errors.Is(err, jetstream.ErrNoStreamResponse):
		return away
	}
	return unknown
}

// unavailable wraps the failure of a read: the context's end stays just that,
// so that a caller who went away is not taken for a log that did.
func unavailable(ctx context.Context, doing string, err error) error {
	apiErr, isAPI := errors.AsType[*jetstream.APIError](err)
	if ctx.Err() != nil || isAPI && apiErr.Code != statusUnavailable {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return &UnavailableError{Doing: doing, StorageFull: outOfStorage(err), Err: err}
}

// outOfStorage tells a full disk. What the server says of one comes as text only.
func outOfStorage(err error) bool {
	return outcomeOf(err) == full || strings.Contains(err.Error(), "no space left")
}
