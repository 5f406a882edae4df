package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"flagledger/domain"
)

// pins are what an environment holds at an old revision.
type pins struct {
	Segments []domain.SegmentPin  `json:"segments"`
	Variants []domain.VariantsPin `json:"variants"`
}

func (c *client) pinsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pins",
		Short: "What the environment holds at an old revision since a rollback, apart from other environments",
		Args:  arguments(cobra.NoArgs), PreRunE: c.needs("project", "environment"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(cmd.Context(), c, call{path: c.inEnvironment("pins")}, c.printPins)
		},
	}
	cmd.AddCommand(c.unpinCommand())
	return cmd
}

func (c *client) printPins(p pins) {
	var rows [][]string
	for _, s := range p.Segments {
		rows = append(rows, []string{"segment:" + s.Segment, "rules of revision " + strconv.Itoa(int(s.Revision)), strconv.FormatUint(s.Changed.Position, 10), when(s.Changed.Time)})
	}
	for _, v := range p.Variants {
		var keys []string
		for _, one := range v.Variants {
			keys = append(keys, one.Key)
		}
		rows = append(rows, []string{"feature:" + v.Feature, "variants " + strings.Join(keys, ", "), strconv.FormatUint(v.Changed.Position, 10), when(v.Changed.Time)})
	}
	if rows == nil {
		c.out.line(plain, "nothing is pinned in %s", c.environment)
		return
	}
	c.out.table("", []string{"PINNED", "TO", "POSITION", "TIME"}, rows)
}

// alone takes out of a refusal which command of the list it is about, where the
// list is the program's and has one.
func alone(err error) error {
	p, ok := errors.AsType[problem](err)
	if !ok {
		return err
	}
	one := func(field string) string { return strings.TrimPrefix(strings.TrimPrefix(field, "commands[0]"), ".") }
	p.Field, p.Errors = one(p.Field), slices.Clone(p.Errors)
	for i := range p.Errors {
		p.Errors[i].Field = one(p.Errors[i].Field)
	}
	return p
}

func (c *client) unpinCommand() *cobra.Command {
	var reason, ticket string
	var dryRun, overrideTests bool
	cmd := &cobra.Command{
		Use:   "remove segment:KEY|feature:KEY --reason REASON",
		Short: "Let the environment follow the rules of a segment, or the variants of a feature, again",
		Args:  arguments(cobra.ExactArgs(1)), PreRunE: c.needs("project", "environment"),
		RunE: func(cmd *cobra.Command, args []string) error {
			kind, key, _ := strings.Cut(args[0], ":")
			command := map[string]any{"environment": c.environment}
			switch {
			case kind == "segment" && key != "":
				command["command"], command["segment"] = "unpin_segment", key
			case kind == "feature" && key != "":
				command["command"], command["feature"] = "unpin_variants", key
			default:
				return usageError{fmt.Errorf("%q is not pinned anywhere: want segment:KEY or feature:KEY, as pins shows them", args[0])}
			}
			if reason == "" && !dryRun {
				return usageError{errors.New("this needs a --reason")}
			}
			body := map[string]any{
				"commands": []any{command}, "reason": reason, "ticket": ticket, "override_tests": overrideTests, "dry_run": dryRun,
			}
			if dryRun {
				body["impact"] = map[string]any{}
			}
			return alone(show(cmd.Context(), c, call{path: c.inProject("changes"), body: body}, func(done plan) {
				if dryRun || !done.Recorded {
					c.printPlan(done)
					return
				}
				for _, one := range done.Changes {
					c.out.line(plain, "%s", one.Sentence)
				}
				c.out.line(bold, "recorded at position %d", done.Position)
			}))
		},
	}
	f := cmd.Flags()
	f.StringVar(&reason, "reason", "", "why; it is recorded")
	f.StringVar(&ticket, "ticket", "", "ticket; it is recorded")
	f.BoolVar(&dryRun, "dry-run", false, "only show what would change, and for whom")
	f.BoolVar(&overrideTests, "override-tests", false, "let cases of rules break; it is recorded")
	return cmd
}
