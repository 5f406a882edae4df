package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"flagledger/domain"
)

// A client asks a server over the HTTP API. The commands that use one (audit,
// rollback, evaluate ...) decide nothing themselves: they turn arguments into a
// request and its answer into text, so that whatever they can do, any other
// client of the API can do as well, with the same rights and in the same log.
//
// With --json an answer is printed as it came. Otherwise it is made into text,
// by a printer, which alone writes what a server says.
type client struct {
	server, token, project, environment string
	environmentNamed                    bool // by a flag
	json                                bool
	out                                 *printer
	http                                http.Client
}

// answerWithin is how long a server may take before it begins to answer. An
// export then takes as long as it takes.
const answerWithin = 90 * time.Second

// clientCommands are the commands that ask a server.
func clientCommands() []*cobra.Command {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = answerWithin
	c := &client{http: http.Client{Transport: transport}}

	settings := pflag.NewFlagSet("settings", pflag.ContinueOnError)
	settings.StringVar(&c.server, "server", "http://127.0.0.1:8000", "URL of the server")
	settings.StringVar(&c.token, "token", "", "token of the administration; as a flag, others on the machine can see it")
	settings.StringVar(&c.project, "project", "", "key of the project")
	settings.StringVar(&c.environment, "environment", "", "key of the environment")
	configure := c.configure(settings)

	all := []*cobra.Command{
		c.auditCommand(), c.historyCommand(), c.versionsCommand(), c.diffCommand(), c.rollbackCommand(), c.undoCommand(),
		c.evaluateCommand(), c.explainCommand(), c.blameCommand(), c.pinsCommand(), c.testsCommand(), c.accessCommand(), c.backupCommand(),
	}
	for _, cmd := range all {
		cmd.PersistentFlags().AddFlagSet(settings)
		cmd.PersistentFlags().BoolVar(&c.json, "json", false, "print the server's JSON as it is")
		cmd.PersistentPreRunE = configure
	}
	return all
}

// configure completes the settings: what no flag gives comes from the
// environment, and what that does not give from the configuration file.
func (c *client) configure(settings *pflag.FlagSet) func(*cobra.Command, []string) error {
	environment := fromEnvironment(settings)
	return func(cmd *cobra.Command, args []string) error {
		c.environmentNamed = cmd.Flags().Changed("environment")
		if err := noneEmpty(cmd, settings); err != nil {
			return err
		}
		if err := environment(cmd, args); err != nil {
			return err
		}
		if err := fromFile(settings, cmd.ErrOrStderr()); err != nil {
			return err
		}
		c.out = newPrinter(cmd.OutOrStdout())
		c.server = strings.TrimRight(c.server, "/")
		if u, err := url.Parse(c.server); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return usageError{fmt.Errorf("server %q is not a URL such as https://flags.example.com", c.server)}
		}
		if c.token == "" {
			return usageError{errors.New("there is no token: set FLAGLEDGER_TOKEN, or \"token\" in the configuration file")}
		}
		return nil
	}
}

// noneEmpty refuses flags of the command itself that are given without a value,
// as by a variable that is not set: without a filter it would be about everything.
func noneEmpty(cmd *cobra.Command, settings *pflag.FlagSet) error {
	var err error
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if value := f.Value.String(); (value == "" || value == "[]") && settings.Lookup(f.Name) == nil && f.Name != "cursor" && f.Name != "ticket" {
			err = usageError{fmt.Errorf("--%s has no value: leave it out, or say which", f.Name)}
		}
	})
	return err
}

// fromFile sets what is not set yet from config.json in the user's
// configuration directory, where there is one.
func fromFile(settings *pflag.FlagSet, stderr io.Writer) error {
	dir, err := os.UserConfigDir()
	if err != nil {
		return nil // a user without a home has no such file
	}
	name := filepath.Join(dir, "flagledger", "config.json")
	body, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	var given map[string]string
	if err := json.Unmarshal(body, &given); err != nil {
		return fmt.Errorf("read the configuration %s: %w", name, err)
	}
	for key, value := range given {
		setting := settings.Lookup(key)
		if setting == nil {
			return fmt.Errorf("the configuration %s has %q; there are server, token, project, environment", name, key)
		}
		if setting.Changed {
			continue
		}
		if err := settings.Set(key, value); err != nil {
			return fmt.Errorf("the configuration %s: %w", name, err)
		}
	}
	// To refuse the file would not take back what others have read.
	if info, err := os.Stat(name); err == nil && given["token"] != "" && info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
		_, err = fmt.Fprintf(stderr, "flagledger: warning: others can read the token in %s; chmod 600 it\n", name)
		return err
	}
	return nil
}

// needs makes a command refuse to start without the settings that it cannot do
// without: the project, or that and the environment.
func (c *client) needs(settings ...string) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		for _, name := range settings {
			if cmd.Flag(name).Value.String() == "" {
				return usageError{fmt.Errorf("there is no %s: give --%[1]s, set FLAGLEDGER_%s, or %[1]q in the configuration file", name, strings.ToUpper(name))}
			}
		}
		return nil
	}
}

// inProject is a path of the project.
func (c *client) inProject(elements ...string) string {
	path := []string{"/admin/v1/projects", url.PathEscape(c.project)}
	for _, e := range elements {
		path = append(path, url.PathEscape(e))
	}
	return strings.Join(path, "/")
}

// inEnvironment is a path of the environment.
func (c *client) inEnvironment(elements ...string) string {
	return c.inProject(append([]string{"environments", c.environment}, elements...)...)
}

// A call is what is asked of a server. With a body it is a POST, unless it says
// otherwise.
type call struct {
	method string
	path   string
	query  url.Values
	body   any
}

// send asks the server and returns the body of its answer. An answer that is
// not a success is an error: a problem, as a rule.
func (c *client) send(ctx context.Context, what call) (io.ReadCloser, error) {
	method, body := http.MethodGet, io.Reader(nil)
	if what.body != nil {
		encoded, err := json.Marshal(what.body)
		if err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
		method, body = cmp.Or(what.method, http.MethodPost), bytes.NewReader(encoded)
	}
	target := c.server + what.path
	if len(what.query) > 0 {
		target += "?" + what.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, fmt.Errorf("ask the server: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Flagledger-Source", string(domain.SourceCLI))
	req.Header.Set("User-Agent", "flagledger/"+version)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the server: %w", err)
	}
	if res.StatusCode/100 == 2 {
		return res.Body, nil
	}
	defer func() { _ = res.Body.Close() }()
	said, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	p := problem{}
	if err != nil || json.Unmarshal(said, &p) != nil || p.Detail == "" {
		return nil, fmt.Errorf("%s answers %s: %s", clean(target), res.Status, clean(string(said[:min(len(said), 200)])))
	}
	return nil, p
}

// ask sends the call and decodes the answer, which it also returns as it came.
func ask[T any](ctx context.Context, c *client, what call) (answer T, raw []byte, err error) {
	body, err := c.send(ctx, what)
	if err != nil {
		return answer, nil, err
	}
	defer func() { _ = body.Close() }()
	if raw, err = io.ReadAll(body); err != nil {
		return answer, nil, fmt.Errorf("read the answer of %s: %w", what.path, err)
	}
	if err = json.Unmarshal(raw, &answer); err != nil {
		return answer, raw, fmt.Errorf("decode the answer of %s: %w", what.path, err)
	}
	return answer, raw, nil
}

// show asks, and prints the answer: as it came with --json, else as text does.
func show[T any](ctx context.Context, c *client, what call, text func(T)) error {
	answer, raw, err := ask[T](ctx, c, what)
	if err != nil {
		return err
	}
	if c.json {
		c.out.raw(raw)
	} else {
		text(answer)
	}
	return c.out.flush()
}

// paging are the flags of a command that shows a list.
type paging struct {
	limit  int
	cursor string
	all    bool
}

func (p *paging) flags(f *pflag.FlagSet) {
	f.IntVar(&p.limit, "limit", 0, "entries to show, 1 to 500 (default 50)")
	f.StringVar(&p.cursor, "cursor", "", "show what follows the page that ended with this cursor")
	f.BoolVar(&p.all, "all", false, "show all, page by page; --limit is then the size of a page (default 500)")
}

// list shows a page of a list, or all pages. With --json each page is printed
// as it came, one behind the other.
func list[T any](cmd *cobra.Command, c *client, p paging, path string, query url.Values, text func([]T)) error {
	if p.all && !cmd.Flags().Changed("limit") {
		p.limit = 500
	}
	if p.limit != 0 || cmd.Flags().Changed("limit") {
		query.Set("limit", fmt.Sprint(p.limit))
	}
	var items []T
	for {
		if p.cursor != "" {
			query.Set("cursor", p.cursor)
		}
		page, raw, err := ask[struct {
			Items []T    `json:"items"`
			Next  string `json:"next"`
		}](cmd.Context(), c, call{path: path, query: query})
		if err != nil {
			return err
		}
		p.cursor = page.Next
		if c.json {
			c.out.raw(raw)
		} else {
			items = append(items, page.Items...)
		}
		if !p.all || p.cursor == "" {
			break
		}
	}
	if c.json {
		return c.out.flush()
	}
	text(items)
	if err := c.out.flush(); err != nil || p.cursor == "" {
		return err
	}
	_, err := fmt.Fprintf(cmd.ErrOrStderr(), "there is more: --cursor %s, or --all\n", clean(p.cursor))
	return err
}

// A problem is why a server did not do what it was asked (RFC 9457).
type problem struct {
	Status  int                 `json:"status"`
	Detail  string              `json:"detail"`
	Field   string              `json:"field"`
	Errors  []domain.FieldError `json:"errors"`
	Request string              `json:"request_id"`
}

// Error is the detail, with a line for each finding where there are several.
func (p problem) Error() string {
	said := []string{clean(p.Detail)}
	if p.Field != "" {
		said[0] = clean(p.Field) + ": " + said[0]
	}
	for _, e := range p.Errors {
		one := "  " + clean(strings.TrimPrefix(e.Field+": "+e.Detail, ": "))
		if e.Fix != "" {
			one += " (" + clean(e.Fix) + ")"
		}
		said = append(said, one)
	}
	if p.Status >= http.StatusInternalServerError {
		said[0] += " (request " + clean(cmp.Or(p.Request, "unknown")) + ")"
	}
	return strings.Join(said, "\n")
}

// A usageError is a wrong use of the command line; it ends with status 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// arguments makes a check of arguments tell how the command is used.
func arguments(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{fmt.Errorf("%w; usage: %s", err, cmd.UseLine())}
		}
		return nil
	}
}

// exitStatus is that of a program that ends with the error.
func exitStatus(err error) int {
	if _, wrong := errors.AsType[usageError](err); wrong {
		return 2
	}
	return 1
}
