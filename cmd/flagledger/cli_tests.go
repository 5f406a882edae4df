package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// ruleTests are the cases of a segment or feature, and how they fare.
type ruleTests struct {
	Cases []struct {
		Name        string                     `json:"name"`
		Environment string                     `json:"environment"`
		Identifier  string                     `json:"identifier"`
		Traits      map[string]json.RawMessage `json:"traits"`
		Member      *bool                      `json:"member"`
		Enabled     *bool                      `json:"enabled"`
		Value       json.RawMessage            `json:"value"`
		Variant     *string                    `json:"variant"`
	} `json:"cases"`
	Failures  []caseResult `json:"failures"`
	Skipped   []caseResult `json:"skipped"`
	Uncovered []uncovered  `json:"uncovered"`
}

type caseResult struct {
	Name   string `json:"name"`
	Detail string `json:"detail"`
}

// uncovered is a condition or rule of a segment, or a branch of a feature.
type uncovered struct {
	ID         string `json:"id"`
	NeverTrue  bool   `json:"never_true"`
	NeverFalse bool   `json:"never_false"`

	Environment string `json:"environment"`
	By          string `json:"by"`
	Segment     string `json:"segment"`
	Variant     string `json:"variant"`
}

func (u uncovered) String() string {
	switch {
	case u.ID != "" && u.NeverTrue && u.NeverFalse:
		return "makes " + u.ID + " true, and none false"
	case u.ID != "" && u.NeverFalse:
		return "makes " + u.ID + " false"
	case u.ID != "":
		return "makes " + u.ID + " true"
	}
	branch := map[string]string{"identity_override": "an identity override", "segment_override": "segment override " + u.Segment, "environment": "the state"}[u.By] + " in " + u.Environment
	if u.Variant != "" {
		return "is dealt " + u.Variant + " by " + branch
	}
	return "reaches " + branch
}

func (c *client) testsCommand() *cobra.Command {
	var file, reason, ticket string
	var override bool
	cmd := &cobra.Command{
		Use:   "tests segment:KEY|feature:KEY",
		Short: "The cases of a segment or feature, whether they hold, and what no case reaches",
		Long: "The cases of a segment or feature, whether they hold, and what no case reaches. Status 1 when one does not hold.\n" +
			"With --set they are replaced by those of a file: {\"cases\": [...]}, as --json prints them.",
		Args: arguments(cobra.ExactArgs(1)), PreRunE: c.needs("project"),
		RunE: func(cmd *cobra.Command, args []string) error {
			kind, key, _ := strings.Cut(args[0], ":")
			if kind != "segment" && kind != "feature" || key == "" {
				return usageError{fmt.Errorf("%q has no cases: want segment:KEY or feature:KEY", args[0])}
			}
			what := call{path: c.inProject(kind+"s", key, "tests")}
			if file != "" {
				if reason == "" {
					return usageError{errors.New("this needs a --reason")}
				}
				cases, err := readCases(file, cmd.InOrStdin())
				if err != nil {
					return err
				}
				what.method, what.body = http.MethodPut, map[string]any{"cases": cases, "reason": reason, "ticket": ticket, "override_tests": override}
			}
			failed := 0
			err := show(cmd.Context(), c, what, func(t ruleTests) {
				failed = len(t.Failures)
				c.printTests(t)
			})
			if err == nil && failed > 0 {
				err = fmt.Errorf("%d of the cases of %s do not hold", failed, args[0])
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&file, "set", "", "replace the cases by those of this file; - is standard input")
	f.StringVar(&reason, "reason", "", "why they are replaced; it is recorded")
	f.StringVar(&ticket, "ticket", "", "ticket; it is recorded")
	f.BoolVar(&override, "override-tests", false, "also with cases that do not hold; it is recorded")
	return cmd
}

// readCases reads the member cases of a file.
func readCases(name string, stdin io.Reader) (json.RawMessage, error) {
	var body []byte
	var err error
	if name == "-" {
		body, err = io.ReadAll(stdin)
	} else {
		body, err = os.ReadFile(name)
	}
	if err != nil {
		return nil, fmt.Errorf("read the cases: %w", err)
	}
	var given struct {
		Cases json.RawMessage `json:"cases"`
	}
	if err := json.Unmarshal(body, &given); err != nil {
		return nil, fmt.Errorf("read the cases of %s: %w", name, err)
	}
	if given.Cases == nil {
		return nil, fmt.Errorf("%s has no member \"cases\"; none at all are written {\"cases\": []}", name)
	}
	return given.Cases, nil
}

func (c *client) printTests(t ruleTests) {
	results := map[string]string{}
	for _, f := range t.Failures {
		results[f.Name] = "FAILS: " + f.Detail
	}
	for _, s := range t.Skipped {
		results[s.Name] = "CANNOT RUN: " + s.Detail
	}
	var rows [][]string
	for _, one := range t.Cases {
		who := []string{}
		if one.Identifier != "" {
			who = append(who, one.Identifier)
		}
		for _, key := range slices.Sorted(maps.Keys(one.Traits)) {
			who = append(who, key+"="+string(one.Traits[key]))
		}
		var want []string
		if one.Member != nil {
			want = append(want, map[bool]string{true: "member", false: "no member"}[*one.Member])
		}
		if one.Enabled != nil {
			want = append(want, onOff(*one.Enabled))
		}
		if one.Value != nil {
			want = append(want, string(one.Value))
		}
		if one.Variant != nil {
			want = append(want, "variant "+*one.Variant)
		}
		if one.Environment != "" {
			want = append(want, "in "+one.Environment)
		}
		rows = append(rows, []string{one.Name, strings.Join(who, " "), strings.Join(want, " "), cmp.Or(results[one.Name], "holds")})
	}
	if rows == nil {
		c.out.line(plain, "there are no cases")
	} else {
		c.out.table("", []string{"CASE", "WHO", "WANTED", "RESULT"}, rows)
	}
	for _, u := range t.Uncovered {
		c.out.line(plain, "no case %s", u)
	}
}
