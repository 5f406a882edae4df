// Package access keeps who looked at rules of segments and at data of
// identities, and when.
//
// A look changes nothing. Looks therefore lie beside the log, in a stream of
// their own that forgets them after a time:
//
//	store, err := access.Open("data/access.db", access.Options{})
//	go store.Run(ctx, js, replicas)
//	store.Add(access.Record{Actor: alice, Project: "shop", Objects: []string{"segment:beta"}, ...})
//	records, next, err := store.List(access.Query{Project: "shop", Object: "segment:beta", Limit: 50})
//
// # From the queue to the stream to the file
//
// Who looks does not wait: Add puts a record into a queue in memory, and Run
// writes what is in the queue as one message, again and again, to
//
//	FLAGLEDGER_ACCESS  flagledger.access
//
// No message of it can be deleted before its time. Every process reads all of
// them into a file of its own, with an index by project, object and actor, from
// which List answers. A record is named by a UUID that begins with its time
// (version 7), and stored under it: so records sort by time, and one that is
// written or read twice is there once.
//
// # What is lost, is told
//
// A record that finds the queue full, because NATS has been away for long, or
// that is still in it when the process ends, is written to the process's own
// log instead, whole, as an error, and counted in [Stats]. Only a crash loses
// the records of the last moments, or since NATS went away, without a trace.
package access
