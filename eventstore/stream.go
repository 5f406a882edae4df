package eventstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"flagledger/eventstore/streams"
)

const (
	// Stream is the name of the log.
	Stream = "FLAGLEDGER"
	// Subjects covers the subjects of the log; a project's ends in its id.
	Subjects = subjectPrefix + "*"

	subjectPrefix = "flagledger.log."

	// duplicateWindow is how long the server itself recognises a commit id that
	// comes again.
	duplicateWindow = 10 * time.Minute
)

// subject is where a project's commits go. An id must be one token, or
// different projects could share expectations.
func subject(project string) (string, error) {
	if project == "" || strings.ContainsAny(project, ".*> \t\r\n") {
		return "", fmt.Errorf("project id %q cannot be part of a subject", project)
	}
	return subjectPrefix + project, nil
}

// logConfig is the log as it is created.
func logConfig(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        Stream,
		Description: "All changes of Flagledger. Never delete from it.",
		Subjects:    []string{Subjects},
		Retention:   jetstream.LimitsPolicy,
		Storage:     jetstream.FileStorage,
		Replicas:    replicas,
		Discard:     jetstream.DiscardNew,
		Duplicates:  duplicateWindow,
		DenyDelete:  true,
		DenyPurge:   true,
		AllowDirect: false, // reads must come from the leader, see Store.find
	}
}

// openLog creates the log where it does not exist, and verifies it.
func openLog(ctx context.Context, js jetstream.JetStream, replicas int) (jetstream.Stream, error) {
	log, err := streams.Open(ctx, js, logConfig(replicas))
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", Stream, err)
	}
	if err := verifyLog(log.CachedInfo(), replicas); err != nil {
		return nil, err
	}
	return log, nil
}

// errNotALog says that the stream could lose or alter history, or has.
var errNotALog = errors.New("the stream is not fit to hold the log")

// verifyLog checks whatever of the stream could lose or alter history. It
// lists all properties that differ.
func verifyLog(info *jetstream.StreamInfo, replicas int) error {
	var findings []string
	want := func(property string, found, wanted any) {
		if found != wanted {
			findings = append(findings, fmt.Sprintf("%s is %v, must be %v", property, found, wanted))
		}
	}
	c := info.Config
	want("subjects", strings.Join(c.Subjects, ","), Subjects)
	want("storage", c.Storage, jetstream.FileStorage)
	want("persist_mode", c.PersistMode, jetstream.DefaultPersistMode)
	want("retention", c.Retention, jetstream.LimitsPolicy)
	want("discard", c.Discard, jetstream.DiscardNew)
	want("max_age", c.MaxAge, time.Duration(0))
	want("max_msgs", max(c.MaxMsgs, -1), int64(-1))
	want("max_bytes", max(c.MaxBytes, -1), int64(-1))
	want("max_msgs_per_subject", max(c.MaxMsgsPerSubject, -1), int64(-1))
	want("deny_delete", c.DenyDelete, true)
	want("deny_purge", c.DenyPurge, true)
	want("allow_rollup_hdrs", c.AllowRollup, false)
	want("allow_msg_ttl", c.AllowMsgTTL, false)
	want("subject_delete_marker_ttl", c.SubjectDeleteMarkerTTL, time.Duration(0))
	want("allow_msg_schedules", c.AllowMsgSchedules, false)
	want("allow_msg_counter", c.AllowMsgCounter, false)
	want("subject_transform", c.SubjectTransform != nil, false)
	want("mirror", c.Mirror != nil, false)
	want("sources", len(c.Sources), 0)
	want("sealed", c.Sealed, false)
	want("no_ack", c.NoAck, false)
	want("allow_direct", c.AllowDirect, false)
	want("first_seq", max(c.FirstSeq, 1), uint64(1))
	want("duplicate_window", min(c.Duplicates, duplicateWindow), duplicateWindow) // longer does no harm
	want("num_replicas", min(c.Replicas, replicas), replicas)                     // nor do more
	want("messages", info.State.Msgs, info.State.LastSeq)                         // none is missing
	if len(findings) > 0 {
		return fmt.Errorf("stream %s: %w: %s", Stream, errNotALog, strings.Join(findings, "; "))
	}
	return nil
}
