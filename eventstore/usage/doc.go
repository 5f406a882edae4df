// Package usage counts how often flags are evaluated, by hour and by what the
// outcome was.
//
// Counts are no changes. They lie beside the log, in a stream that forgets them
// after [Retention], and a crash may lose the last few seconds of them.
//
//	store, err := usage.Open("data/usage.db", usage.Options{Collect: collect})
//	go store.Run(ctx, js, replicas)
//	store.Add(usage.Key{Project: id, Environment: 2, Feature: "checkout", Source: usage.SDK}, 12)
//	counts, err := store.Counts(id, 2, "checkout", yesterday, now)
//
// # Sums that cannot go wrong
//
// A process counts for itself, from its start to its end: each hour from zero
// up. What it has counted of the hour so far it writes every few seconds over
// what it wrote before, as the newest and only message of its subject:
//
//	FLAGLEDGER_USAGE  flagledger.usage.<process>.<part>
//
// where a process is a random UUID, made when it starts, and a part is a
// number. Up to a thousand counts of one hour make a part: mostly there is one
// part an hour.
//
// Every process reads all messages into a file of its own. There each count is
// kept apart by the process that counted; of two, the greater replaces the
// lesser; the sum is made when somebody asks. It therefore does not matter how
// often a message is read, nor in what order: writing again after an answer
// that got lost, reading the stream anew from its beginning, beginning with an
// empty file, all lead to the same sums. (This is known as a grow-only counter.)
//
// While NATS is away a process goes on counting in memory, by hours, up to a
// limit, and writes it later.
package usage
