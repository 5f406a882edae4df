package migrations

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
)

var errBroken = errors.New("no colour")

// paint is a history of three versions: v2 renamed a field, v3 made it a list.
var paint = chain{
	"wall.painted.v1": {to: "wall.painted.v2", up: func(data json.RawMessage) (json.RawMessage, error) {
		var old struct{ Color string }
		if err := json.Unmarshal(data, &old); err != nil {
			return nil, err
		}
		if old.Color == "" {
			return nil, errBroken
		}
		return json.Marshal(map[string]string{"colour": old.Color})
	}},
	"wall.painted.v2": {to: "wall.painted.v3", up: func(data json.RawMessage) (json.RawMessage, error) {
		var old struct{ Colour string }
		if err := json.Unmarshal(data, &old); err != nil {
			return nil, err
		}
		return json.Marshal(map[string][]string{"colours": {old.Colour}})
	}},
}

func TestUpcast(t *testing.T) {
	tests := []struct {
		name, eventType, data string
		wantType, want        string
		err                   error
	}{
		{name: "two steps", eventType: "wall.painted.v1", data: `{"color":"red"}`, wantType: "wall.painted.v3", want: `{"colours":["red"]}`},
		{name: "one step", eventType: "wall.painted.v2", data: `{"colour":"red"}`, wantType: "wall.painted.v3", want: `{"colours":["red"]}`},
		{name: "current", eventType: "wall.painted.v3", data: `{"colours":[]}`, wantType: "wall.painted.v3", want: `{"colours":[]}`},
		{name: "unknown type", eventType: "door.opened.v1", data: `{}`, wantType: "door.opened.v1", want: `{}`},
		{name: "failing step", eventType: "wall.painted.v1", data: `{}`, err: errBroken},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			gotType, got, err := paint.upcast(tt.eventType, json.RawMessage(tt.data))
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if err != nil && !strings.Contains(err.Error(), tt.eventType) {
				t.Errorf("error %q does not name %s", err, tt.eventType)
			}
			if gotType != tt.wantType || string(got) != tt.want {
				t.Errorf("got %s %s, want %s %s", gotType, got, tt.wantType, tt.want)
			}
		})
	}
}

// TestSteps fixes what the real steps make of old events.
func TestSteps(t *testing.T) {
	tests := []struct{ name, eventType, data, wantType, want string }{
		{
			"a segment begins at revision 1", "segment.created.v1", `{"id":16,"key":"beta","name":"Beta <1>","rules":[{"id":"r2","type":"ALL"}],"last_node":2,"later":1.50}`,
			"segment.created.v2", `{"id":16,"key":"beta","last_node":2,"later":1.50,"name":"Beta \u003c1\u003e","revision":1,"rules":[{"id":"r2","type":"ALL"}]}`,
		},
		{"no object", "segment.created.v1", `null`, "", ""},
		{"a list", "segment.created.v1", `[]`, "", ""},
	}
	seen := map[string]bool{}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			gotType, got, err := Upcast(tt.eventType, json.RawMessage(tt.data))
			if gotType != tt.wantType || string(got) != tt.want || (err != nil) != (tt.want == "") {
				t.Errorf("got %s %s, %v; want %s %s", gotType, got, err, tt.wantType, tt.want)
			}
		})
		seen[tt.eventType] = true
	}
	for from := range steps {
		if !seen[from] {
			t.Errorf("the step from %s is not tested", from)
		}
	}
}

// TestUpcastLeavesInput: the recorded bytes stay as they were.
func TestUpcastLeavesInput(t *testing.T) {
	data := json.RawMessage(`{"color":"red"}`)
	if _, _, err := paint.upcast("wall.painted.v1", data); err != nil {
		t.Fatal(err)
	}
	if string(data) != `{"color":"red"}` {
		t.Errorf("input became %s", data)
	}
}

// TestStepsClimb holds the promise that chains end: each step leads to the next version.
func TestStepsClimb(t *testing.T) {
	for name, c := range map[string]chain{"steps": steps, "paint": paint} {
		for from, s := range c {
			before, err := version(from)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			after, err := version(s.to)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if after != before+1 {
				t.Errorf("%s: %s leads to %s, not to the next version", name, from, s.to)
			}
		}
	}
}

// version is the number at the end of "segment.rules_set.v1".
func version(eventType string) (int, error) {
	n, err := strconv.Atoi(eventType[strings.LastIndex(eventType, ".v")+len(".v"):])
	if err != nil {
		return 0, fmt.Errorf("event type %q does not end in its version, such as .v1: %w", eventType, err)
	}
	return n, nil
}
