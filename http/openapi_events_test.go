package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"flagledger/domain"
)

// eventSection is what docs/events.md says of one event type: a heading, a
// text, an example.
var eventSection = regexp.MustCompile("(?s)### `([a-z_.0-9]+)`\n(.*?)```json\n(.*?)```")

// docs/events.md tells of every event, with an example that is read and written
// as it stands and has all the members that an event of the type always has.
func TestEventsAreDescribed(t *testing.T) {
	text, err := os.ReadFile("../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	described := map[string][]string{}
	for _, section := range eventSection.FindAllStringSubmatch(string(text), -1) {
		described[section[1]] = section[2:]
	}
	for _, eventType := range domain.EventTypes() {
		if section := described[eventType]; section == nil {
			t.Errorf("%s is not described", eventType)
		} else if err := checkEvent(eventType, section[0], section[1]); err != nil {
			t.Errorf("%s: %v", eventType, err)
		}
		delete(described, eventType)
	}
	for eventType := range described {
		t.Errorf("%s is described and is no event", eventType)
	}
	_, commit, _ := strings.Cut(string(text), "## The commit\n\n```json\n")
	commit, members, _ := strings.Cut(commit, "```")
	if err := checkCommit(commit); err != nil {
		t.Errorf("the commit: %v", err)
	}
	for name := range membersOf(reflect.TypeFor[domain.Commit]()) {
		if !strings.Contains(commit, `"`+name+`"`) || !strings.Contains(members, "`"+name+"`") {
			t.Errorf("the commit's member %s is not described", name)
		}
	}
}

var quotedName = regexp.MustCompile("`([a-z_]+)`")

// checkEvent compares what is said of an event with its type.
func checkEvent(eventType, text, example string) error {
	payload := `{"id":"i","project":"p","time":"2026-11-21T09:30:00Z","actor":{"kind":"system","id":"s"},"source":"system","events":[{"type":"` + eventType + `","data":` + example + `}]}`
	if err := checkCommit(payload); err != nil {
		return err
	}
	c, err := domain.DecodeCommit([]byte(payload), nil)
	if err != nil {
		return err
	}
	_, list, _ := strings.Cut(text, "Absent when empty:")
	var said, optional []string
	for _, m := range quotedName.FindAllStringSubmatch(list, -1) {
		said = append(said, m[1])
	}
	for name, m := range membersOf(reflect.TypeOf(c.Events[0])) {
		if m.optional {
			optional = append(optional, name)
		}
	}
	slices.Sort(said)
	slices.Sort(optional)
	if !slices.Equal(said, optional) {
		return fmt.Errorf("absent when empty are %v, described as such %v", optional, said)
	}
	return nil
}

// checkCommit reads a commit as the log does, and writes it again.
func checkCommit(payload string) error {
	c, err := domain.DecodeCommit([]byte(payload), nil)
	if err != nil {
		return err
	}
	written, err := json.Marshal(c)
	if err != nil {
		return err
	}
	var said, is any
	if err := errors.Join(json.Unmarshal([]byte(payload), &said), json.Unmarshal(written, &is)); err != nil {
		return err
	}
	if !reflect.DeepEqual(said, is) {
		return fmt.Errorf("the example is recorded as %s", written)
	}
	return nil
}

// The check of events finds what it is there to find.
func TestEventChecks(t *testing.T) {
	const eventType, text, example = "sdk_key.updated.v1", "Absent when empty: `expires_at`.", `{"environment":"e","id":"i","name":"n","active":true}`
	for _, tc := range []struct{ name, text, example, want string }{
		{"as it is", text, example, ""},
		{"a member renamed", text, strings.Replace(example, "name", "title", 1), "is recorded as"},
		{"a member left out", text, strings.Replace(example, `"name":"n",`, "", 1), "is recorded as"},
		{"another type", text, strings.Replace(example, "true", "1", 1), "cannot unmarshal"},
		{"not said to be optional", "", example, "absent when empty are [expires_at], described as such []"},
		{"said to be optional", text + " `name`", example, "described as such [expires_at name]"},
	} {
		err := checkEvent(eventType, tc.text, tc.example)
		if (tc.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want %q", tc.name, err, tc.want)
		}
	}
}
