package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"flagledger/domain"
)

// An outcome is what a feature evaluates to.
type outcome struct {
	Enabled bool            `json:"enabled"`
	Value   json.RawMessage `json:"value"`
	Variant string          `json:"variant"`
	Reason  string          `json:"reason"`
}

// String tells also of nothing at all, where there is no such feature.
func (o *outcome) String() string {
	if o == nil {
		return "nothing"
	}
	text := onOff(o.Enabled)
	if value := string(o.Value); value != "null" {
		text += " " + value
	}
	if o.Variant != "" {
		text += " (" + o.Variant + ")"
	}
	return text
}

// evaluated is what an identity gets in an environment.
type evaluated struct {
	Environment string   `json:"environment"`
	Version     uint64   `json:"version"`
	Position    uint64   `json:"position"`
	Identifier  string   `json:"identifier"`
	TraitsFrom  string   `json:"traits_from"`
	Segments    []string `json:"segments"`
	Flags       []struct {
		Feature string `json:"feature"`
		outcome
		DecidedBy []decision `json:"decided_by"`
		Trace     trace      `json:"trace"`
	} `json:"flags"`
}

// A decision is an element of a feature and the commit that made it what it is.
type decision struct {
	Element    string       `json:"element"`
	Position   uint64       `json:"position"`
	RecordedAt time.Time    `json:"recorded_at"`
	Actor      domain.Actor `json:"actor"`
	Reason     string       `json:"reason"`
	Ticket     string       `json:"ticket"`
}

// A trace is how an outcome came about.
type trace struct {
	IdentityOverride bool     `json:"identity_override"`
	Bucket           *float64 `json:"bucket"` // percent
	Segments         []struct {
		Segment string      `json:"segment"`
		Matched bool        `json:"matched"`
		Rules   []ruleTrace `json:"rules"`
	} `json:"segments"`
}

type ruleTrace struct {
	Type       string      `json:"type"`
	Matched    bool        `json:"matched"`
	Rules      []ruleTrace `json:"rules"`
	Conditions []struct {
		Property string          `json:"property"`
		Operator string          `json:"operator"`
		Value    json.RawMessage `json:"value"`
		Operand  json.RawMessage `json:"operand"`
		Matched  bool            `json:"matched"`
		Bucket   *float64        `json:"bucket"`
	} `json:"conditions"`
}

func (c *client) evaluateCommand() *cobra.Command {
	return c.evaluating("evaluate", "What an identity gets, or got at a point in time", false, c.printEvaluated)
}

func (c *client) explainCommand() *cobra.Command {
	return c.evaluating("explain", "Why an identity gets what it gets: every rule with its outcome, and whose commits decided", true, c.printExplained)
}

// evaluating makes a command that evaluates.
func (c *client) evaluating(verb, short string, explain bool, text func(evaluated)) *cobra.Command {
	var traits []string
	var asOf, feature string
	cmd := &cobra.Command{
		Use:   verb + " [IDENTIFIER]",
		Short: short,
		Long: short + ".\n" +
			"Without a trait the stored ones count, as they are now; with any, the given ones alone. Without an identifier and\n" +
			"a trait it is what everybody gets who is nobody in particular.\n" +
			"A trait is written key=value: true, false and numbers as JSON has them are such, anything else is text.\n" +
			"key==value is text in any case, key:=value is JSON (\"text\", 1.5, true).",
		Args:    arguments(cobra.MaximumNArgs(1)),
		PreRunE: c.needs("project", "environment"),
		RunE: func(cmd *cobra.Command, args []string) error {
			body := map[string]any{"feature": feature, "explain": explain}
			if asOf != "" {
				body["as_of"] = asOf
			}
			if len(args) > 0 {
				if args[0] == "" {
					return usageError{errors.New("the identifier is empty: leave it out for nobody in particular, or say whose")}
				}
				body["identifier"] = args[0]
			}
			if len(traits) > 0 {
				given := map[string]json.RawMessage{}
				for _, one := range traits {
					key, value, err := parseTrait(one)
					if err != nil {
						return usageError{err}
					}
					given[key] = value
				}
				body["traits"] = given
			}
			return show(cmd.Context(), c, call{path: c.inEnvironment("evaluate"), body: body}, text)
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&traits, "trait", nil, "a trait of the identity, key=value; can be repeated")
	f.StringVar(&asOf, "as-of", "", "a version, a time as of RFC 3339, or position:42 (default latest)")
	f.StringVar(&feature, "feature", "", "only this feature")
	return cmd
}

// parseTrait reads key=value, key==text or key:=JSON. The key ends at the first
// of these signs.
func parseTrait(s string) (key string, value json.RawMessage, err error) {
	key, text, ok := strings.Cut(s, "=")
	if !ok {
		return "", nil, fmt.Errorf("trait %q: want key=value, key==text or key:=JSON", s)
	}
	if plain, isJSON := strings.CutSuffix(key, ":"); isJSON {
		if !json.Valid([]byte(text)) {
			return "", nil, fmt.Errorf("trait %q: %s is not JSON; text is written with quotes, or as key==text", s, text)
		}
		key, value = plain, json.RawMessage(text)
	} else if forced, isText := strings.CutPrefix(text, "="); isText || !isLiteral(text) {
		value, err = json.Marshal(forced)
	} else {
		value = json.RawMessage(text)
	}
	if key == "" {
		return "", nil, fmt.Errorf("trait %q has no key", s)
	}
	return key, value, err
}

// isLiteral tells whether the text is true, false or a number in JSON.
func isLiteral(text string) bool {
	var value any
	if json.Unmarshal([]byte(text), &value) != nil || strings.TrimSpace(text) != text {
		return false
	}
	switch value.(type) {
	case bool, float64:
		return true
	}
	return false
}

// printWho writes who was evaluated, and where.
func (c *client) printWho(e evaluated) {
	who := "nobody in particular"
	if e.Identifier != "" {
		who = e.Identifier
	}
	c.out.line(bold, "%s in %s version %d, traits: %s", who, e.Environment, e.Version, e.TraitsFrom)
	if len(e.Segments) > 0 {
		c.out.line(plain, "in segments %s", strings.Join(e.Segments, ", "))
	}
}

func (c *client) printEvaluated(e evaluated) {
	c.printWho(e)
	var rows [][]string
	for _, f := range e.Flags {
		rows = append(rows, []string{f.Feature, onOff(f.Enabled), string(f.Value), f.Variant, f.outcome.Reason})
	}
	c.out.table("", []string{"FEATURE", "STATE", "VALUE", "VARIANT", "REASON"}, rows)
}

// printExplained writes the trace of each feature as a tree.
func (c *client) printExplained(e evaluated) {
	p := c.out
	c.printWho(e)
	for _, f := range e.Flags {
		p.line(plain, "")
		p.line(bold, "%s is %s: %s", f.Feature, &f.outcome, f.outcome.Reason)
		if f.Trace.IdentityOverride {
			p.line(green, "  identity override: yes")
		}
		for _, s := range f.Trace.Segments {
			c.node("  ", "segment "+s.Segment, s.Matched)
			c.printRules("    ", s.Rules)
		}
		if f.Trace.Bucket != nil {
			p.line(plain, "  among the variants at %s", percent(*f.Trace.Bucket))
		}
		if len(f.DecidedBy) > 0 {
			p.line(plain, "  decided by")
			c.printDecisions("    ", f.DecidedBy)
		}
	}
}

// node writes a node of the tree and what came out.
func (c *client) node(indent, text string, matched bool) {
	if matched {
		c.out.line(green, "%s%s: yes", indent, text)
	} else {
		c.out.line(red, "%s%s: no", indent, text)
	}
}

func (c *client) printRules(indent string, rules []ruleTrace) {
	for _, r := range rules {
		c.node(indent, r.Type, r.Matched)
		for _, one := range r.Conditions {
			text := fmt.Sprintf("%s %s %s", one.Property, one.Operator, one.Value)
			switch {
			case one.Bucket != nil:
				text += ", is at " + percent(*one.Bucket)
			case string(one.Operand) == "null":
				text += ", is absent"
			default:
				text += ", is " + string(one.Operand)
			}
			c.node(indent+"  ", text, one.Matched)
		}
		c.printRules(indent+"  ", r.Rules)
	}
}

func percent(share float64) string { return strconv.FormatFloat(share, 'f', 2, 64) + " %" }

func (c *client) printDecisions(indent string, all []decision) {
	var rows [][]string
	for _, d := range all {
		rows = append(rows, []string{d.Element, strconv.FormatUint(d.Position, 10), when(d.RecordedAt), actorName(d.Actor), d.Ticket, d.Reason})
	}
	c.out.table(indent, []string{"ELEMENT", "POSITION", "TIME", "BY", "TICKET", "REASON"}, rows)
}

func (c *client) blameCommand() *cobra.Command {
	var asOf string
	cmd := &cobra.Command{
		Use:     "blame FEATURE",
		Short:   "Which commit made each element of a feature in the environment what it is",
		Args:    arguments(cobra.ExactArgs(1)),
		PreRunE: c.needs("project", "environment"),
		RunE: func(cmd *cobra.Command, args []string) error {
			query := url.Values{}
			if asOf != "" {
				query.Set("as_of", asOf)
			}
			return show(cmd.Context(), c, call{path: c.inEnvironment("features", args[0], "blame"), query: query}, func(page struct {
				Items []decision `json:"items"`
			}) {
				c.printDecisions("", page.Items)
			})
		},
	}
	cmd.Flags().StringVar(&asOf, "as-of", "", "a version, a time as of RFC 3339, or position:42 (default latest)")
	return cmd
}
