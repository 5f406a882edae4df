package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"flagledger/domain"
)

// environmentVersion is what the commands show of a version.
type environmentVersion struct {
	Version    uint64        `json:"version"`
	Position   uint64        `json:"position"`
	Digest     string        `json:"digest"`
	RecordedAt time.Time     `json:"recorded_at"`
	Actor      domain.Actor  `json:"actor"`
	Source     domain.Source `json:"source"`
	Reason     string        `json:"reason"`
	Ticket     string        `json:"ticket"`
	Summary    []string      `json:"summary"`
}

func (c *client) versionsCommand() *cobra.Command {
	var page paging
	var asOf string
	cmd := &cobra.Command{
		Use:     "versions [VERSION]",
		Short:   "The versions of the environment, newest first, or the whole content of one",
		Args:    arguments(cobra.MaximumNArgs(1)),
		PreRunE: c.needs("project", "environment"),
		RunE: func(cmd *cobra.Command, args []string) error {
			query := url.Values{}
			if asOf != "" {
				query.Set("as_of", asOf)
			}
			if len(args) == 0 {
				return list(cmd, c, page, c.inEnvironment("versions"), query, c.printVersions)
			}
			return show(cmd.Context(), c, call{path: c.inEnvironment("versions", args[0]), query: query}, c.printVersion)
		},
	}
	page.flags(cmd.Flags())
	cmd.Flags().StringVar(&asOf, "as-of", "", "those of the environment that had the key then: a time as of RFC 3339, or position:42")
	return cmd
}

func (c *client) printVersions(versions []environmentVersion) {
	var rows [][]string
	for _, v := range versions {
		cells := []string{strconv.FormatUint(v.Version, 10), strconv.FormatUint(v.Position, 10), when(v.RecordedAt), v.Digest[:min(len(v.Digest), 12)], v.Ticket, v.Reason}
		rows = append(rows, spread(cells, v.Summary)...)
	}
	c.out.table("", []string{"VERSION", "POSITION", "TIME", "DIGEST", "TICKET", "REASON", "WHAT"}, rows)
}

// versionContent is a version with all that it has.
type versionContent struct {
	environmentVersion
	Content struct {
		Features   []json.RawMessage `json:"features"`
		Segments   []json.RawMessage `json:"segments"`
		Identities []json.RawMessage `json:"identities"`
	} `json:"content"`
}

func (c *client) printVersion(v versionContent) {
	p := c.out
	p.line(bold, "version %d", v.Version)
	p.line(plain, "%s, position %d, by %s, %s %s", when(v.RecordedAt), v.Position, actorName(v.Actor), v.Reason, v.Ticket)
	p.line(plain, "digest %s", v.Digest)
	for _, part := range []struct {
		kind   string
		images []json.RawMessage
	}{{"feature", v.Content.Features}, {"segment", v.Content.Segments}, {"identity", v.Content.Identities}} {
		for _, image := range part.images {
			var known struct{ Feature, Key, Identifier string }
			_ = json.Unmarshal(image, &known) // then it has no name
			p.line(plain, "")
			p.line(bold, "%s %s", part.kind, cmp.Or(known.Feature, known.Key, known.Identifier))
			for _, d := range p.diff(nil, image) {
				p.line(plain, "  %s: %s", d.Path, d.To)
			}
		}
	}
}

func (c *client) diffCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "diff FROM [TO]",
		Short: "In what the environment differs between two points of its history, or from another",
		Long: "In what the environment differs between two points of its history, or from another.\n" +
			"A point is a version, a time as of RFC 3339, position:42 or latest (which TO is by default),\n" +
			"of another environment with its key in front: diff production@12 staging@latest, or diff production@12..staging@latest.",
		Args:    arguments(cobra.RangeArgs(1, 2)),
		PreRunE: c.needs("project", "environment"),
		RunE: func(cmd *cobra.Command, args []string) error {
			query := url.Values{"from": args[:1], "to": args[1:]}
			return show(cmd.Context(), c, call{path: c.inEnvironment("diff"), query: query}, c.printDiff)
		},
	}
}

// environmentDiff compares two points.
type environmentDiff struct {
	From    environmentPoint `json:"from"`
	To      environmentPoint `json:"to"`
	Changes []change         `json:"changes"`
}

type environmentPoint struct {
	Environment string    `json:"environment"`
	Version     uint64    `json:"version"`
	Position    uint64    `json:"position"`
	RecordedAt  time.Time `json:"recorded_at"`
}

func (c *client) printDiff(d environmentDiff) {
	for _, end := range []struct {
		word  string
		point environmentPoint
	}{{"from", d.From}, {"to", d.To}} {
		c.out.line(plain, "%-4s %s version %d, position %d, %s", end.word, end.point.Environment, end.point.Version, end.point.Position, when(end.point.RecordedAt))
	}
	if len(d.Changes) == 0 {
		c.out.line(plain, "they do not differ")
	}
	c.printChanges(d.Changes)
}

// A plan is what a rollback or undo would do, or did.
type plan struct {
	Recorded bool     `json:"recorded"`
	Position uint64   `json:"position"`
	Version  uint64   `json:"version"` // of the environment; 0 of an undo
	Changes  []change `json:"changes"`
	Warnings []string `json:"warnings"`
	PlanHash string   `json:"plan_hash"`
	Broken   []struct {
		Field  string `json:"field"`
		Detail string `json:"detail"`
	} `json:"broken_tests"`
	Impact struct {
		Environments []environmentImpact `json:"environments"`
	} `json:"impact"`
}

// environmentImpact is who would get something else.
type environmentImpact struct {
	Environment string `json:"environment"`
	Sampled     int    `json:"sampled"`
	Affected    int    `json:"affected"`
	Flips       []struct {
		Feature  string   `json:"feature"`
		From     *outcome `json:"from"` // nil: there is no such feature
		To       *outcome `json:"to"`
		Count    int      `json:"count"`
		Examples []string `json:"examples"`
	} `json:"flips"`
}

// planning are the flags of a command that shows a plan and carries it out.
type planning struct {
	reason, ticket             string
	dryRun, yes, overrideTests bool
	sample                     int
}

func (o *planning) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.reason, "reason", "", "why; it is recorded")
	f.StringVar(&o.ticket, "ticket", "", "ticket; it is recorded")
	f.BoolVar(&o.dryRun, "dry-run", false, "only show the plan")
	f.BoolVar(&o.yes, "yes", false, "carry the plan out without asking")
	f.BoolVar(&o.overrideTests, "override-tests", false, "let cases of rules break; it is recorded")
	f.IntVar(&o.sample, "sample", 0, "stored identities that the plan is tried on (default 1000)")
}

// carryOut shows the plan, asks whether to go on, and carries out what was
// shown: where something was changed meanwhile, the server refuses.
func (c *client) carryOut(cmd *cobra.Command, path string, body map[string]any, o planning) error {
	switch {
	case !o.dryRun && domain.Trim(o.reason) == "":
		return usageError{errors.New("this needs a --reason")}
	case c.json && !o.dryRun && !o.yes:
		return usageError{errors.New("--json does not ask: give --yes or --dry-run")}
	}
	body["dry_run"], body["impact"] = true, map[string]any{"stored": o.sample}
	body["reason"], body["ticket"], body["override_tests"] = o.reason, o.ticket, o.overrideTests
	if o.dryRun {
		return show(cmd.Context(), c, call{path: path, body: body}, c.printPlan)
	}
	planned, _, err := ask[plan](cmd.Context(), c, call{path: path, body: body})
	if err != nil {
		return err
	}
	if !c.json {
		c.printPlan(planned)
		if err := c.out.flush(); err != nil || len(planned.Changes) == 0 {
			return err
		}
		if len(planned.Broken) > 0 && !o.overrideTests {
			return fmt.Errorf("nothing was changed: %d cases would break; --override-tests does it all the same", len(planned.Broken))
		}
		if !o.yes {
			if err := confirm(cmd.Context(), cmd.InOrStdin(), cmd.ErrOrStderr()); err != nil {
				return err
			}
		}
	}
	body["dry_run"], body["plan_hash"] = false, planned.PlanHash
	return show(cmd.Context(), c, call{path: path, body: body}, func(done plan) {
		switch {
		case !done.Recorded:
			c.out.line(plain, "nothing was recorded: it is so already")
		case done.Version > 0:
			c.out.line(bold, "recorded at position %d; %s is at version %d", done.Position, c.environment, done.Version)
		default:
			c.out.line(bold, "recorded at position %d", done.Position)
		}
	})
}

// confirm asks whoever sits at the terminal.
func confirm(ctx context.Context, stdin io.Reader, stderr io.Writer) error {
	if !onTerminal(stdin) {
		return usageError{errors.New("nothing was changed: without a terminal to ask at, --yes carries it out")}
	}
	if _, err := io.WriteString(stderr, "carry this out? [y/N] "); err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	said := make(chan string, 1)
	go func() { // a read cannot be interrupted
		text, _ := bufio.NewReader(stdin).ReadString('\n') // no more to read is a no
		said <- strings.ToLower(strings.TrimSpace(text))
	}()
	select {
	case <-ctx.Done():
		return fmt.Errorf("nothing was changed: %w", ctx.Err())
	case text := <-said:
		if text != "y" && text != "yes" {
			return errors.New("nothing was changed")
		}
		return nil
	}
}

func (c *client) printPlan(p plan) {
	out := c.out
	if len(p.Changes) == 0 {
		out.line(plain, "nothing to do: it is so already")
	} else {
		out.line(bold, "this would be recorded:")
	}
	for _, one := range p.Changes {
		out.line(plain, "  %s", one.Sentence)
	}
	if len(p.Warnings) > 0 {
		out.line(bold, "warnings:")
	}
	for _, warning := range p.Warnings {
		out.line(red, "  %s", warning)
	}
	if len(p.Broken) > 0 {
		out.line(bold, "cases that would break:")
	}
	for _, b := range p.Broken {
		out.line(red, "  %s %s", b.Field, b.Detail)
	}
	for _, e := range p.Impact.Environments {
		out.line(bold, "in %s, %d of %d identities would get something else", e.Environment, e.Affected, e.Sampled)
		var rows [][]string
		for _, f := range e.Flips {
			rows = append(rows, []string{f.Feature, f.From.String(), f.To.String(), strconv.Itoa(f.Count), strings.Join(f.Examples, ", ")})
		}
		if rows != nil {
			out.table("  ", []string{"FEATURE", "FROM", "TO", "COUNT", "SUCH AS"}, rows)
		}
	}
}

func (c *client) rollbackCommand() *cobra.Command {
	var o planning
	var features, segments []string
	var restoreDeleted bool
	cmd := &cobra.Command{
		Use:   "rollback VERSION|TIME --reason REASON",
		Short: "Make the content of the environment what it was, after showing what that changes",
		Long: "Make the content of the environment what it was at a version, a time as of RFC 3339 or position:42.\n" +
			"The plan is shown first: what would be recorded, warnings, and which identities would get something else.\n" +
			"Nothing is erased: a rollback is a new version, and can be rolled back.",
		Args:    arguments(cobra.ExactArgs(1)),
		PreRunE: c.needs("project", "environment"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.carryOut(cmd, c.inEnvironment("rollback"), map[string]any{
				"to": args[0], "features": features, "segments": segments, "restore_deleted": restoreDeleted,
			}, o)
		},
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.StringSliceVar(&features, "features", nil, "only these features (a,b,c)")
	f.StringSliceVar(&segments, "segments", nil, "only these segments (a,b,c)")
	f.BoolVar(&restoreDeleted, "restore-deleted", false, "bring back what was deleted since, and delete again what was restored since")
	return cmd
}

func (c *client) undoCommand() *cobra.Command {
	var o planning
	var actor, changeRequest, correlation, from, to string
	var except []string
	cmd := &cobra.Command{
		Use:   "undo [POSITION] --reason REASON",
		Short: "Take back what some commits did, and keep what was changed elsewhere since",
		Long: "Take back what one commit did, or all those that the flags select together, and keep what was changed\n" +
			"elsewhere since. What was changed since in the same place is a conflict; then nothing is taken back.",
		Args:    arguments(cobra.MaximumNArgs(1)),
		PreRunE: c.needs("project"),
		RunE: func(cmd *cobra.Command, args []string) error {
			body := map[string]any{}
			for member, value := range map[string]string{"actor": actor, "change_request": changeRequest, "correlation_id": correlation, "from": from, "to": to} {
				if value != "" {
					body[member] = value
				}
			}
			if len(args) > 0 {
				position, err := strconv.ParseUint(args[0], 10, 64)
				if err != nil {
					return usageError{fmt.Errorf("%q is not a position", args[0])}
				}
				body["position"] = position
			}
			for name, value := range map[string]string{"from": from, "to": to} {
				if _, err := time.Parse(time.RFC3339, value); value != "" && err != nil {
					return usageError{fmt.Errorf("--%s: %q is not a time as of RFC 3339, such as 2026-05-03T14:02:00Z", name, value)}
				}
			}
			if len(body) == 0 {
				return usageError{errors.New("say what to undo: a position, or a flag that selects commits")}
			}
			body["except"] = except
			return c.carryOut(cmd, c.inProject("undo"), body, o)
		},
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&actor, "actor", "", "by an actor or token, by id")
	f.StringVar(&changeRequest, "change-request", "", "of a change request, by id")
	f.StringVar(&correlation, "correlation", "", "with a correlation id")
	f.StringVar(&from, "from", "", "recorded at this time or later, as of RFC 3339")
	f.StringVar(&to, "to", "", "recorded before this time, as of RFC 3339")
	f.StringSliceVar(&except, "except", nil, "leave these as they are: position:42, segment:beta, environment:qa with all that is in it")
	return cmd
}
