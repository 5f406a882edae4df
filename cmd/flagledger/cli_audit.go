package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"flagledger/domain"
)

// auditEntry is what the commands show of an entry of the audit.
type auditEntry struct {
	Position        uint64            `json:"position"`
	RecordedAt      time.Time         `json:"recorded_at"`
	Actor           domain.Actor      `json:"actor"`
	Client          domain.Client     `json:"client"`
	Source          domain.Source     `json:"source"`
	Reason          string            `json:"reason"`
	Ticket          string            `json:"ticket"`
	ChangeRequest   string            `json:"change_request"`
	TestsOverridden bool              `json:"tests_overridden"`
	Types           []string          `json:"types"`
	Versions        map[string]uint64 `json:"versions"`
	Changes         []change          `json:"changes"`
	Effective       *struct {
		Before json.RawMessage `json:"before"`
		After  json.RawMessage `json:"after"`
	} `json:"effective"`
}

// change is what became, or would become, of one object.
type change struct {
	Object      string              `json:"object"`
	Action      string              `json:"action"`
	Identity    string              `json:"identity"`
	Sentence    string              `json:"sentence"`
	Before      json.RawMessage     `json:"before"`
	After       json.RawMessage     `json:"after"`
	Differences []domain.Difference `json:"differences"`
}

// auditFilters are the filters of the audit: flag, parameter of the API, use.
var auditFilters = [][3]string{
	{"object", "object", "about an object, or all of a kind: segment:beta, feature:*, state:production/checkout"},
	{"affects", "affects", "what changed how a feature evaluates in the environment, also by its segments: feature:checkout"},
	{"actor", "actor", "by an actor or token, by id"},
	{"actor-kind", "actor_kind", "by a kind of actor: token or system"},
	{"type", "type", "with an event of a type, such as segment.rules_set.v1"},
	{"source", "source", "from a source: api, cli, console, rollback, import, system ..."},
	{"client", "client", "through a program, by the name it gives: flagledger (the command line), curl ..."},
	{"ticket", "ticket", "for a ticket"},
	{"reason", "reason", "with all these words in the reason"},
	{"change-request", "change_request", "of a change request, by id"},
	{"correlation", "correlation_id", "with a correlation id"},
	{"text", "q", "with all these words in the reason, ticket, actor's name, or recorded names and values"},
	{"from", "from", "recorded at this time or later, as of RFC 3339"},
	{"to", "to", "recorded before this time, as of RFC 3339"},
}

// filterFlags adds the filters to a command, and returns what reads them. The
// environment counts as one only where the command itself names it, or where
// --affects needs it: a setting must not hide what environments share.
func (c *client) filterFlags(f *pflag.FlagSet) (read func() url.Values) {
	values := make([]string, len(auditFilters))
	for i, filter := range auditFilters {
		f.StringVar(&values[i], filter[0], "", filter[2])
	}
	return func() url.Values {
		query := url.Values{}
		for i, filter := range auditFilters {
			if values[i] != "" {
				query.Set(filter[1], values[i])
			}
		}
		if c.project != "" {
			query.Set("project", c.project)
		}
		if c.environment != "" && (c.environmentNamed || query.Has("affects")) {
			query.Set("environment", c.environment)
		}
		return query
	}
}

func (c *client) auditCommand() *cobra.Command {
	var page paging
	var filters func() url.Values
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Who changed what, when and why, newest first",
		Long: "Who changed what, when and why, newest first. The filters can be combined in any way.\n" +
			"The project is a filter too, --project '' lifts the one that is set elsewhere. The environment is a filter as a flag,\n" +
			"and with --affects: set elsewhere, it would hide what environments share.",
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return list(cmd, c, page, "/admin/v1/audit", filters(), c.printAudit)
		},
	}
	filters = c.filterFlags(cmd.Flags())
	page.flags(cmd.Flags())
	cmd.AddCommand(c.auditShowCommand(), c.auditExportCommand(), c.auditCheckpointCommand(), auditVerifyCommand())
	return cmd
}

// printAudit writes a table with a row for each change.
func (c *client) printAudit(entries []auditEntry) {
	var rows [][]string
	for _, e := range entries {
		what := sentences(e.Changes)
		if len(what) == 0 {
			what = []string{actorName(e.Actor) + ": " + strings.Join(e.Types, ", ")}
		}
		if e.Effective != nil {
			for _, d := range c.out.diff(e.Effective.Before, e.Effective.After) {
				what = append(what, "  "+difference(d))
			}
		}
		rows = append(rows, spread([]string{strconv.FormatUint(e.Position, 10), when(e.RecordedAt), e.Ticket, e.Reason}, what)...)
	}
	c.out.table("", []string{"POSITION", "TIME", "TICKET", "REASON", "WHAT"}, rows)
}

// sentences are those of the changes.
func sentences(changes []change) []string {
	var all []string
	for _, one := range changes {
		all = append(all, one.Sentence)
	}
	return all
}

// spread makes a row for each of the lines; only the first has the other cells.
func spread(cells, lines []string) [][]string {
	rows := [][]string{append(slices.Clone(cells), "")}
	for i, line := range lines {
		if i > 0 {
			rows = append(rows, make([]string, len(cells)+1))
		}
		rows[i][len(cells)] = line
	}
	return rows
}

func (c *client) auditShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show POSITION",
		Short: "All of one commit, field by field",
		Args:  arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return show(cmd.Context(), c, call{path: "/admin/v1/audit/" + url.PathEscape(args[0])}, c.printEntry)
		},
	}
}

// printEntry writes all that is known of a commit.
func (c *client) printEntry(e auditEntry) {
	p := c.out
	p.line(bold, "position %d", e.Position)
	for _, one := range [][2]string{
		{"recorded", e.RecordedAt.UTC().Format(time.RFC3339Nano)},
		{"by", fmt.Sprintf("%s (%s %s)", actorName(e.Actor), e.Actor.Kind, e.Actor.ID)},
		{"through", strings.TrimSpace(fmt.Sprintf("%s %s %s", e.Source, e.Client.IP, e.Client.UserAgent))},
		{"reason", e.Reason},
		{"ticket", e.Ticket},
		{"change request", e.ChangeRequest},
		{"events", strings.Join(e.Types, ", ")},
		{"made", versionsOf(e.Versions)},
	} {
		if one[1] != "" {
			p.line(plain, "%-15s %s", one[0], one[1])
		}
	}
	if e.TestsOverridden {
		p.line(red, "tests of rules were overridden")
	}
	c.printChanges(e.Changes)
}

// versionsOf words the versions that a commit led to.
func versionsOf(versions map[string]uint64) string {
	var all []string
	for _, environment := range slices.Sorted(maps.Keys(versions)) {
		all = append(all, fmt.Sprintf("%s version %d", environment, versions[environment]))
	}
	return strings.Join(all, ", ")
}

// printChanges writes what became of each object, field by field.
func (c *client) printChanges(changes []change) {
	for _, one := range changes {
		c.out.line(plain, "")
		object := one.Object
		if one.Identity != "" {
			object = "identity " + one.Identity
		}
		c.out.line(bold, "%s", cmp.Or(one.Sentence, one.Action+" "+object))
		if one.Differences == nil {
			one.Differences = c.out.diff(one.Before, one.After)
		}
		c.out.differences(one.Differences)
	}
}

func (c *client) historyCommand() *cobra.Command {
	var page paging
	cmd := &cobra.Command{
		Use:   "history OBJECT",
		Short: "Every commit about an object, field by field, newest first",
		Long: "Every commit about an object, field by field, newest first. An object is written as audit and diff show it:\n" +
			"segment:beta, feature:checkout (also with its states and overrides), state:production/checkout.",
		Args:    arguments(cobra.ExactArgs(1)),
		PreRunE: c.needs("project"),
		RunE: func(cmd *cobra.Command, args []string) error {
			query := url.Values{"project": {c.project}, "object": {args[0]}}
			return list(cmd, c, page, "/admin/v1/audit", query, func(entries []auditEntry) {
				for i, e := range entries {
					if i > 0 {
						c.out.line(plain, "")
					}
					c.printEntry(e)
				}
			})
		},
	}
	page.flags(cmd.Flags())
	return cmd
}

func (c *client) auditExportCommand() *cobra.Command {
	var format, positions string
	var filters func() url.Values
	cmd := &cobra.Command{
		Use:   "export",
		Short: "All that the filters select, as a stream of NDJSON, CSV or CloudEvents; or the log itself, to be verified",
		Long: "All that the filters select, as a stream of NDJSON, CSV or CloudEvents, newest first. With --format log the log itself,\n" +
			"oldest first, as it was recorded and with what \"audit verify\" needs; it has no filters but --positions.",
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			what := call{path: "/admin/v1/audit/export", query: filters()}
			if format == "log" {
				for _, filter := range auditFilters {
					if cmd.Flags().Changed(filter[0]) {
						return usageError{fmt.Errorf("--%s does not go with --format log: what is left out could not be told from what was dropped", filter[0])}
					}
				}
				query, err := positionsQuery(positions)
				if err != nil {
					return err
				}
				what = call{path: "/admin/v1/log/export", query: query}
			} else {
				if positions != "" {
					return usageError{errors.New("--positions goes with --format log")}
				}
				what.query.Set("format", format)
			}
			body, err := c.send(cmd.Context(), what)
			if err != nil {
				return err
			}
			defer func() { _ = body.Close() }()
			if _, err := io.Copy(cmd.OutOrStdout(), body); err != nil {
				return fmt.Errorf("the export is not complete: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&format, "format", "ndjson", "ndjson, csv, cloudevents or log")
	cmd.Flags().StringVar(&positions, "positions", "", "with --format log: positions such as 17, 17-42 or 17- (default all)")
	filters = c.filterFlags(cmd.Flags())
	return cmd
}
