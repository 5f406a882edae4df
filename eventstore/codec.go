package eventstore

import (
	"encoding/hex"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"flagledger/domain"
	"flagledger/domain/transparency"
	"flagledger/migrations"
)

// Message is a commit as it stands in the log.
type Message struct {
	Position   uint64
	Subject    string
	Header     nats.Header
	Payload    []byte
	RecordedAt time.Time // the stream's timestamp, UTC
}

// commitType is the CloudEvents type of a commit. Its version is that of the
// envelope; events inside have their own.
const commitType = "flagledger.commit.v1"

// encode makes the message of a commit. The CloudEvents attributes stand in
// headers, so that any NATS client can follow the log without our types.
func encode(c domain.Commit) (*nats.Msg, error) {
	to, err := subject(c.Project)
	if err != nil {
		return nil, err
	}
	payload, err := c.MarshalJSON() // what json.Marshal would go through once more
	if err != nil {
		return nil, fmt.Errorf("encode commit %s: %w", c.ID, err)
	}
	header := nats.Header{
		"ce-specversion":     {"1.0"},
		"ce-type":            {commitType},
		"ce-id":              {headerValue(c.ID)},
		"ce-source":          {"/flagledger/projects/" + headerValue(c.Project)},
		"ce-time":            {c.Time.UTC().Format(time.RFC3339Nano)},
		"ce-datacontenttype": {"application/json"},
	}
	for name, id := range map[string]string{"ce-correlationid": c.CorrelationID, "ce-causationid": c.CausationID} {
		if id != "" {
			header.Set(name, headerValue(id))
		}
	}
	return &nats.Msg{Subject: to, Header: header, Data: payload}, nil
}

// headerValue escapes what CloudEvents does not allow in headers.
func headerValue(s string) string { return url.PathEscape(s) }

// commitID is the id of the commit in the message, without decoding it.
func (m Message) commitID() string { return m.Header.Get(jetstream.MsgIDHeader) }

// Leaf is the message as the transparency log has it.
func (m Message) Leaf() transparency.Leaf {
	return transparency.Leaf{Position: m.Position, RecordedAt: m.RecordedAt, Subject: m.Subject, Header: m.Header, Payload: m.Payload}
}

// Decode reads the commit, its events brought to their current versions. A
// payload that does not belong to the message's subject is an error.
func (m Message) Decode() (domain.Recorded, error) { return m.decode(m.Leaf().Hash()) }

func (m Message) decode(leaf [32]byte) (domain.Recorded, error) {
	c, err := domain.DecodeCommit(m.Payload, upcast)
	if err != nil {
		return domain.Recorded{}, fmt.Errorf("position %d: %w", m.Position, err)
	}
	if m.Subject != subjectPrefix+c.Project {
		return domain.Recorded{}, fmt.Errorf("position %d: commit %s of project %s stands on subject %s", m.Position, c.ID, c.Project, m.Subject)
	}
	return domain.Recorded{Commit: c, Position: m.Position, RecordedAt: m.RecordedAt, Raw: m.Payload, LeafHash: leaf}, nil
}

func upcast(e domain.RawEvent) (domain.RawEvent, error) {
	eventType, data, err := migrations.Upcast(e.Type, e.Data)
	return domain.RawEvent{Type: eventType, Data: data}, err
}

// Metadata of the messages that a Subscriber delivers. Beside them stand the
// headers of the log's message under their own names, such as ce-time.
const (
	MetaPosition      = "position"       // decimal
	MetaSubject       = "subject"        // of the log
	MetaRecordedAt    = "recorded_at"    // the stream's timestamp, RFC 3339 with nanoseconds
	MetaPending       = "pending"        // how many messages followed when this one was sent, decimal; 0: up to date
	MetaLeafHash      = "leaf_hash"      // in the transparency log, hexadecimal: it covers all headers, of which only the first values are here
	MetaCommitID      = "commit_id"      // also the UUID of the message
	MetaCorrelationID = "correlation_id" // the name that watermill's middleware uses; the commit's own id where it has none
)

// wrap makes a watermill message of one of the log.
func wrap(m Message) *message.Message {
	id := m.commitID()
	w := message.NewMessage(id, m.Payload)
	w.Metadata = make(message.Metadata, len(m.Header)+8) // with those below and of the delivery
	for name, values := range m.Header {
		w.Metadata[name] = values[0]
	}
	w.Metadata[MetaPosition] = strconv.FormatUint(m.Position, 10)
	w.Metadata[MetaSubject] = m.Subject
	w.Metadata[MetaRecordedAt] = m.RecordedAt.Format(time.RFC3339Nano)
	leaf := m.Leaf().Hash()
	w.Metadata[MetaLeafHash] = hex.EncodeToString(leaf[:])
	w.Metadata[MetaCommitID] = id
	w.Metadata[MetaCorrelationID] = id
	if correlation := m.Header.Get("ce-correlationid"); correlation != "" {
		w.Metadata[MetaCorrelationID] = correlation
	}
	return w
}

// Decode reads the commit of a message that a Subscriber delivered.
func Decode(w *message.Message) (domain.Recorded, error) {
	if d, ok := w.Context().Value(deliveryKey{}).(*delivery); ok {
		return d.commit, d.err // it was decoded while others were processed
	}
	position, err := strconv.ParseUint(w.Metadata[MetaPosition], 10, 64)
	if err != nil {
		return domain.Recorded{}, fmt.Errorf("message %s: position: %w", w.UUID, err)
	}
	recordedAt, err := time.Parse(time.RFC3339Nano, w.Metadata[MetaRecordedAt])
	if err != nil {
		return domain.Recorded{}, fmt.Errorf("position %d: time of recording: %w", position, err)
	}
	leaf, err := hex.DecodeString(w.Metadata[MetaLeafHash])
	if err != nil || len(leaf) != 32 {
		return domain.Recorded{}, fmt.Errorf("position %d: %q is not the hash of a leaf", position, w.Metadata[MetaLeafHash])
	}
	return Message{Position: position, Subject: w.Metadata[MetaSubject], Payload: w.Payload, RecordedAt: recordedAt}.decode([32]byte(leaf))
}
