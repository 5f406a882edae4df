// Package eventstore is the log of Flagledger on NATS JetStream: the one place
// where a change becomes history.
//
// The log is one stream, [Stream]. A commit is one message, so it is recorded
// whole or not at all, and its stream sequence is its position: 1, 2, 3 ...
// without gaps, for nothing in the stream is ever deleted. Each project has its
// own subject in it, the boundary of consistency: [Store.Append] names the
// position of the project's last commit the change was decided on, and is
// refused with a [ConflictError] when another commit has come since.
//
// [Open] starts a NATS server inside the process, or connects to a cluster:
//
//	store, err := eventstore.Open(ctx, eventstore.Options{Dir: dir, Logger: log})
//	defer store.Close()
//	position, err := store.Append(ctx, commit, project.Position)
//
// A position that Append returns is durable: synced to disk by the embedded
// server, agreed on by a quorum of a cluster. An error says which of three
// things is true: the commit is not recorded and cannot be with this
// expectation ([ConflictError], [TooLargeError]), it is not recorded now
// ([UnavailableError]), or nobody can tell yet ([UnknownOutcomeError]). Append
// with the same commit again is always safe: a commit id is recorded once.
//
// Readers follow the log through [Store.Subscriber], a watermill
// message.Subscriber that resumes behind the reader's own checkpoint and gives
// the next message only after the last was acknowledged, or walk over a stretch
// of it with [Store.Load].
package eventstore
