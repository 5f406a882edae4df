package domain_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"flagledger/domain"
)

// A commit is read back as it was written, whatever its events.
func TestCommitJSON(t *testing.T) {
	begin, end := story()
	want := domain.Commit{
		ID: "0190", Project: domain.ProjectID("shop"), Time: time.Date(2026, 5, 3, 14, 2, 0, 5, time.UTC),
		Actor:  domain.Actor{Kind: "token", ID: "t2", Name: "Ana", Token: "t2", OnBehalfOf: "ben"},
		Client: domain.Client{IP: "192.0.2.1", UserAgent: "curl", RequestID: "r1"}, Source: domain.SourceAPI,
		Reason: "because", Ticket: "SHOP-1", CausationID: "0180", CorrelationID: "0170", ChangeRequest: "7",
		IdempotencyKey: "once", RequestHash: "ff", Events: slices.Concat(begin, end, organisation()),
	}
	payload := toJSON(t, want)
	got, err := domain.DecodeCommit([]byte(payload), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range want.Events {
		if got, want := toJSON(t, got.Events[i]), toJSON(t, want.Events[i]); got != want {
			t.Errorf("event %d is %s, was %s", i, got, want)
		}
	}
	got.Events, want.Events = nil, nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("commit is %+v, was %+v", got, want)
	}
}

func TestDecodeCommit(t *testing.T) {
	commit := func(events string) string { return `{"id":"0190","events":[` + events + `]}` }
	rename := func(e domain.RawEvent) (domain.RawEvent, error) {
		switch e.Type {
		case "token.ended.v0":
			return domain.RawEvent{Type: "token.revoked.v1", Data: json.RawMessage(`{"id":"old"}`)}, nil
		case "token.lost.v0":
			return e, errors.New("cannot be found")
		}
		return e, nil
	}
	for name, test := range map[string]struct {
		payload string
		want    string // the events, or what the error contains
	}{
		"current":          {commit(`{"type":"token.revoked.v1","data":{"id":"t"}}`), `[{"id":"t"}]`},
		"older":            {commit(`{"type":"token.ended.v0","data":{}}`), `[{"id":"old"}]`},
		"no events":        {`{"id":"0190"}`, `[]`},
		"cannot be upcast": {commit(`{"type":"token.lost.v0","data":{}}`), "commit 0190: upcast event 0 (token.lost.v0): cannot be found"},
		"unknown type":     {commit(`{"type":"moon.landed.v1","data":{}}`), `commit 0190: event 0: unknown event type "moon.landed.v1"`},
		"wrong data":       {commit(`{"type":"token.revoked.v1","data":{"id":7}}`), "commit 0190: event 0: decode token.revoked.v1: json: cannot unmarshal"},
		"no JSON":          {`{`, "decode commit: unexpected end of JSON input"},
	} {
		got, err := domain.DecodeCommit([]byte(test.payload), rename)
		if err != nil {
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: error %v, want %s", name, err, test.want)
			}
		} else if events := toJSON(t, got.Events); events != test.want {
			t.Errorf("%s: got %s, want %s", name, events, test.want)
		}
	}
}
