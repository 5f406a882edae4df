package identities

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"flagledger/eventstore/streams"
)

// The streams. See the package documentation.
const (
	PeppersStream = "FLAGLEDGER_PEPPERS"
	PersonsStream = "FLAGLEDGER_PERSONS"
	TraitsStream  = "FLAGLEDGER_TRAITS"
)

// The subjects have the two tokens of the environment behind the prefix, and
// persons and traits one more.
const (
	pepperPrefix = "flagledger.pepper."
	personPrefix = "flagledger.person."
	erasedPrefix = "flagledger.erased."
	traitsPrefix = "flagledger.traits."

	// everyone in place of a surrogate marks a whole environment.
	everyone = "everyone"
)

func pepperSubject(e Environment) string { return pepperPrefix + string(e) }

func erasedSubject(e Environment) string { return erasedPrefix + string(e) }

func personSubject(e Environment, bucket int) string {
	return fmt.Sprintf("%s%s.%03x", personPrefix, e, bucket)
}

func traitsSubject(e Environment, surrogate uuid.UUID) string {
	return traitsPrefix + string(e) + "." + surrogate.String()
}

// split cuts the part after the prefix of a subject into environment and rest.
func split(part string) (Environment, string) {
	i := strings.LastIndexByte(part, '.')
	return Environment(part[:max(i, 0)]), part[i+1:]
}

// config is what is common to the streams: kept for ever, erasable. Atomic
// batches let many messages share one sync.
func config(name, description string, replicas int, subjects ...string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:               name,
		Description:        description,
		Subjects:           subjects,
		Retention:          jetstream.LimitsPolicy,
		Storage:            jetstream.FileStorage,
		Replicas:           replicas,
		MaxMsgsPerSubject:  -1,
		AllowAtomicPublish: true,
		AllowDirect:        false, // what is read after a conflict must come from the leader
	}
}

// CreateStreams creates those that do not exist, empty: for a log that has been
// restored without persons.
func CreateStreams(ctx context.Context, js jetstream.JetStream, replicas int) error {
	return (&Store{js: js}).openStreams(ctx, replicas, false)
}

// openStreams creates what does not exist, unless it must, and verifies it.
func (s *Store) openStreams(ctx context.Context, replicas int, established bool) error {
	peppers := config(PeppersStream, "Secrets of Flagledger's environments. Without them no identity can be read.",
		replicas, pepperPrefix+"*.*")
	persons := config(PersonsStream, "Persons Flagledger evaluates flags for, sealed, and marks of those erased.",
		replicas, personPrefix+"*.*.*", erasedPrefix+"*.*")
	traits := config(TraitsStream, "Traits of persons that changed, sealed.", replicas, traitsPrefix+"*.*.*")
	traits.MaxMsgsPerSubject = 1

	obtain := streams.Open
	if established {
		obtain = streams.Reopen
	}
	var err error
	open := func(c jetstream.StreamConfig) (stream jetstream.Stream) {
		if err == nil {
			stream, err = openStream(ctx, s.js, c, obtain)
		}
		return stream
	}
	s.peppers, s.persons, s.traits = open(peppers), open(persons), open(traits)
	return err
}

func openStream(ctx context.Context, js jetstream.JetStream, c jetstream.StreamConfig,
	obtain func(context.Context, jetstream.JetStream, jetstream.StreamConfig) (jetstream.Stream, error),
) (jetstream.Stream, error) {
	stream, err := obtain(ctx, js, c)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", c.Name, err)
	}
	if err := verify(stream.CachedInfo().Config, c); err != nil {
		return nil, fmt.Errorf("stream %s is not fit to hold identities: %w", c.Name, err)
	}
	return stream, nil
}

// verify lists what of a stream could lose, double or fail to erase a record.
func verify(c, want jetstream.StreamConfig) error {
	var findings []error
	check := func(property string, found, wanted any) {
		if found != wanted {
			findings = append(findings, fmt.Errorf("%s is %v, must be %v", property, found, wanted))
		}
	}
	check("subjects", strings.Join(c.Subjects, ","), strings.Join(want.Subjects, ","))
	check("storage", c.Storage, want.Storage)
	check("persist_mode", c.PersistMode, want.PersistMode)
	check("retention", c.Retention, want.Retention)
	check("max_age", c.MaxAge, time.Duration(0))
	check("max_msgs", max(c.MaxMsgs, -1), int64(-1))
	check("max_bytes", max(c.MaxBytes, -1), int64(-1))
	check("max_msg_size", max(c.MaxMsgSize, -1), int32(-1))
	check("max_msgs_per_subject", max(c.MaxMsgsPerSubject, -1), want.MaxMsgsPerSubject)
	check("allow_atomic", c.AllowAtomicPublish, true) // of nats-server 2.12 and later
	check("allow_direct", c.AllowDirect, false)
	check("deny_delete", c.DenyDelete, false)
	check("deny_purge", c.DenyPurge, false)
	check("sealed", c.Sealed, false)
	check("no_ack", c.NoAck, false)
	check("mirror", c.Mirror != nil, false)
	check("sources", len(c.Sources), 0)
	check("subject_transform", c.SubjectTransform != nil, false)
	check("num_replicas", min(c.Replicas, want.Replicas), want.Replicas) // more do no harm
	return errors.Join(findings...)
}

// pepper returns the environment's pepper, nil when it has none. With create it
// gets one: that of the first process that thought so.
func (s *Store) pepper(ctx context.Context, e *environment, create bool) (*pepper, error) {
	for {
		if p := e.pepper.Load(); p != nil {
			return p, nil
		}
		subject := pepperSubject(e.token)
		msg, err := last(ctx, s.peppers, subject)
		if err != nil {
			return nil, err
		}
		if msg != nil {
			p := new(pepper)
			if len(msg.Data) != secretSize {
				return nil, fmt.Errorf("read %s: a pepper has %d bytes, not %d", subject, secretSize, len(msg.Data))
			}
			copy(p.secret[:], msg.Data)
			e.pepper.CompareAndSwap(nil, p)
			return p, nil
		}
		if !create {
			return nil, nil
		}
		var fresh [secretSize]byte
		rand.Read(fresh[:]) // never fails
		if err := s.publish(ctx, []*message{{subject: subject, payload: fresh[:]}}); err != nil {
			return nil, err
		}
	}
}

// knowAll waits until memory has whatever the stream has of an identifier now.
func (s *Store) knowAll(ctx context.Context, e *environment, identifier string) error {
	pepper, err := s.pepper(ctx, e, false)
	if err != nil || pepper == nil { // nobody is in the stream
		return err
	}
	return s.catchUp(ctx, e, pepper.bucket(identifier))
}
