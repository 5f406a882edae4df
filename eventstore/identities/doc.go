// Package identities keeps the persons apps evaluate flags for. It lies beside
// the log and can forget: the log names a person by a random surrogate, and
// only this store knows whose it is.
//
// Everything is held in memory, and reads never leave it. [Store.Identify]
// changes memory at once and is stored soon after; many changes share one sync
// of the disk. When NATS is away the store goes on answering, and saves what
// was changed when NATS is back. Any number of processes may share the streams:
// each follows the others, and changes of different traits are merged.
//
//	store, err := identities.Open(ctx, js, identities.Options{})
//	defer store.Close(ctx)
//	env := identities.EnvironmentToken(project.ID, environment.ID)
//	identity := store.Identify(env, "ada@example.com", traits)
//	surrogate, err := store.Surrogate(ctx, env, "ada@example.com") // for an event
//
// # What is stored
//
//	FLAGLEDGER_PEPPERS  flagledger.pepper.<environment>              32 random bytes
//	FLAGLEDGER_PERSONS  flagledger.person.<environment>.<bucket>     surrogate, seed; sealed: identifier, first traits
//	                    flagledger.erased.<environment>              surrogate: this person is erased
//	FLAGLEDGER_TRAITS   flagledger.traits.<environment>.<surrogate>  sealed: traits, the newest record only
//
// A person is one message, written once. The bucket is 12 bits of a keyed hash
// of the identifier, keyed by the environment's pepper. Who stores a person
// names the last message of the bucket: NATS refuses it when another process
// has stored someone there since, who might be the same person. Traits that
// change later are a message of their own, of which NATS keeps the last.
//
// What is sealed is encrypted by a key that takes both the pepper and the
// person's seed: whoever holds the records but not the peppers reads nothing.
//
// # Forgetting
//
// [Store.Erase] records that the surrogate is erased, then overwrites the
// person's message. With the seed gone, no copy of the traits can ever be read
// again, neither old versions left in the stream's files nor records that a
// crashed server brings back. The mark stays for ever: a message of an erased
// surrogate that turns up again, for whatever reason, is not taken into memory,
// and is overwritten anew. [Store.Drop] does the same for an environment, by
// overwriting its pepper.
package identities
