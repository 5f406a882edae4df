package main

import (
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"flagledger/domain"
)

// A look is one at rules of segments or data of identities.
type look struct {
	Time        time.Time     `json:"time"`
	Actor       domain.Actor  `json:"actor"`
	Client      domain.Client `json:"client"`
	Route       string        `json:"route"`
	Project     string        `json:"project"`
	Environment string        `json:"environment"`
	AsOf        string        `json:"as_of"`
	Objects     []string      `json:"objects"`
}

func (c *client) accessCommand() *cobra.Command {
	var page paging
	var object, actor, from, to string
	cmd := &cobra.Command{
		Use:   "access-log",
		Short: "Who looked at rules of segments and at data of identities, newest first",
		Long: "Who looked at rules of segments and at data of identities, newest first. Which looks are recorded is a setting of the\n" +
			"server (--access-log). The project is a filter, --project '' lifts the one that is set elsewhere.",
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			query := url.Values{}
			for name, value := range map[string]string{"project": c.project, "object": object, "actor": actor, "from": from, "to": to} {
				if value != "" {
					query.Set(name, value)
				}
			}
			return list(cmd, c, page, "/admin/v1/access-log", query, c.printAccess)
		},
	}
	f := cmd.Flags()
	f.StringVar(&object, "object", "", "at an object: segment:beta, identity:production/<surrogate>")
	f.StringVar(&actor, "actor", "", "by a token, by id")
	f.StringVar(&from, "from", "", "at this time or later, as of RFC 3339")
	f.StringVar(&to, "to", "", "before this time, as of RFC 3339")
	page.flags(f)
	return cmd
}

func (c *client) printAccess(all []look) {
	var rows [][]string
	for _, a := range all {
		place := strings.TrimSuffix(a.Project+"/"+a.Environment, "/")
		rows = append(rows, spread([]string{when(a.Time), actorName(a.Actor), a.Client.IP, a.Route, place, a.AsOf}, a.Objects)...)
	}
	c.out.table("", []string{"TIME", "BY", "FROM", "ROUTE", "WHERE", "AS OF", "SAW"}, rows)
}
