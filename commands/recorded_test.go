package commands_test

import (
	"testing"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/domain/evaluation"
)

// An oldVersion records rules which are not saved any more.
type oldVersion struct{ segment, property, value string }

// Needs implements commands.Command.
func (oldVersion) Needs() commands.Need { return commands.Need{Right: domain.Write} }

// Decide implements commands.Command.
func (c oldVersion) Decide(p *domain.Project, _ *commands.Inputs) ([]domain.Event, error) {
	s := p.Segments.Get(c.segment)
	rules, last := domain.NumberNodes(s.Rules, when(c.property, evaluation.NotEqual, c.value), s.LastNode)
	return []domain.Event{domain.SegmentRulesSet{Segment: c.segment, Revision: s.Revision + 1, Rules: rules, LastNode: last}}, nil
}

// What was recorded before engines were known to disagree on it is evaluated, edited around, undone to and rolled back to; only what is new is refused.
func TestRecordedRules(t *testing.T) {
	l := newLedger(t)
	l.must(t, shop()...)
	l.must(t, override("checkout", "us", value("elsewhere")))
	l.must(t, oldVersion{"us", "country", "DE"})
	old, version := l.digest(t, "prod"), l.views.CurrentVersion(l.environment("prod"))
	recorded := l.project().Segments.Get("us").Rules

	edited := commands.Rules{recorded[0]}
	edited[0].Conditions = append([]evaluation.Condition{{Property: "plan", Operator: evaluation.Equal, Value: "pro"}}, recorded[0].Conditions...)
	l.must(t, commands.UpdateSegment{Segment: "us", Rules: &edited})
	const refused = "invalid rules[0].conditions[0]: NOT_EQUAL"
	if _, err := l.Do(t.Context(), change(commands.UpdateSegment{Segment: "us", Rules: new(when("country", evaluation.NotEqual, "FR"))})); !refuses(err, refused) {
		t.Errorf("another value: %s", refusal(err))
	}
	replaced := l.must(t, commands.UpdateSegment{Segment: "us", Rules: new(when("country", evaluation.Equal, "US"))}).Position
	if _, err := l.Do(t.Context(), change(commands.UpdateSegment{Segment: "us", Rules: new(when("country", evaluation.NotEqual, "DE"))})); !refuses(err, refused) {
		t.Errorf("what was replaced and is new again: %s", refusal(err))
	}

	l.must(t, undo(replaced))
	l.must(t, commands.UpdateSegment{Segment: "us", Rules: new(commands.Rules(recorded))})
	if now := l.digest(t, "prod"); now != old {
		t.Errorf("undone, and the edit taken back: %s, want %s", now, old)
	}
	l.must(t, commands.UpdateSegment{Segment: "us", Rules: new(when("country", evaluation.Equal, "CA"))})
	l.must(t, commands.Rollback{Environment: "prod", Version: version})
	if now := l.digest(t, "prod"); now != old {
		t.Errorf("rolled back: %s, want %s", now, old)
	}
}
