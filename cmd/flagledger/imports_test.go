package main_test

import (
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// The layout: what stands at the top, and which layer may import which. Imports point one way, so that a capability can be read from the
// domain outwards, and each technology is known to one layer alone. The test parses the files itself: `go list` in a child process is
// invisible to the test cache, and a cached pass would outlive the rule it checks.

const module = "flagledger"

// topLevel is all that may stand beside .git and other hidden folders of tools.
var topLevel = []string{
	"cmd", "domain", "commands", "projections", "eventstore", "http", "migrations", "docs",
	"docker-compose.yml", "go.mod", "go.sum", "README.md", "Makefile", "Dockerfile", "staticcheck.conf",
	"bin", "data", "e2e-out", "*.test", "*.prof", // made by builds and tests, ignored by git
}

// layers names, for each layer, the other layers it may import.
var layers = map[string][]string{
	"domain":      nil,
	"migrations":  nil,
	"commands":    {"domain"},
	"projections": {"domain", "migrations"}, // migrations: the schema number that decides on a rebuild
	"eventstore":  {"domain", "migrations"},
	"http":        {"domain", "commands", "projections"},
	"cmd":         {"domain", "migrations", "commands", "projections", "eventstore", "http"},
}

// technologies names, for each library (by path prefix), the layers that may know it. What is not listed is open to all.
var technologies = map[string][]string{
	"github.com/nats-io":                 {"eventstore", "cmd"},
	"github.com/ThreeDotsLabs/watermill": {"eventstore", "projections", "cmd"},
	"go.etcd.io/bbolt":                   {"projections", "eventstore", "cmd"}, // eventstore: counts of usage, which are no view of the log
	"github.com/labstack":                {"http", "cmd"},
	"github.com/prometheus":              {"http", "cmd"},
	"github.com/spf13":                   {"cmd"},
	"net/http":                           {"http", "cmd"},
}

// impure is what the layers that import nothing of ours, domain and migrations, must not know either: their time, ids and randomness are
// passed in, so that they decide the same thing again on a lost race and during a replay.
var impure = []string{"context", "crypto/rand", "log", "math/rand", "net/http", "os", "syscall"}

// violations reads every Go file of the tree and returns what breaks the layout, sorted.
//
// Test files run on real parts, so they may import any layer and any technology, except in domain and migrations, whose tests stay as
// free of the other layers as their code. Packages named storetest are test files in this sense, and only such files may import them.
func violations(tree fs.FS) ([]string, error) {
	var found []string
	add := func(where, format string, args ...any) {
		found = append(found, where+": "+fmt.Sprintf(format, args...))
	}
	top, err := fs.ReadDir(tree, ".")
	if err != nil {
		return nil, err
	}
	for _, entry := range top {
		known := slices.ContainsFunc(topLevel, func(pattern string) bool {
			match, _ := path.Match(pattern, entry.Name())
			return match
		})
		if !known && !strings.HasPrefix(entry.Name(), ".") {
			add(entry.Name(), "is not part of the layout")
		}
	}
	for _, layer := range slices.Sorted(maps.Keys(layers)) {
		err := fs.WalkDir(tree, layer, func(file string, entry fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist) && file == layer:
				add(layer, "the layer is missing")
				return fs.SkipDir
			case err != nil:
				return err
			case entry.IsDir() && (entry.Name() == "testdata" || entry.Name() == "node_modules"):
				return fs.SkipDir
			case entry.IsDir() || path.Ext(file) != ".go":
				return nil
			}
			source, err := fs.ReadFile(tree, file)
			if err != nil {
				return err
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), file, source, parser.ImportsOnly)
			if err != nil {
				return err
			}
			test := strings.HasSuffix(file, "_test.go") || path.Base(path.Dir(file)) == "storetest"
			if path.Dir(file) == "http" && strings.TrimSuffix(parsed.Name.Name, "_test") != "httpapi" {
				add(file, "package %s must be called httpapi", parsed.Name.Name)
			}
			for _, spec := range parsed.Imports {
				imported, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					return err
				}
				if imported == module+"/http" && (spec.Name == nil || spec.Name.Name != "httpapi") {
					add(file, "imports %s without the name httpapi", imported)
				}
				if path.Base(imported) == "storetest" && !test {
					add(file, "imports %s outside a test", imported)
				}
				if reason := refusal(layer, imported, test); reason != "" {
					add(file, "%s", reason)
				}
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read layer %s: %w", layer, err)
		}
	}
	slices.Sort(found)
	return found, nil
}

// refusal says why a file of the layer may not import the path; empty means that it may.
func refusal(layer, imported string, test bool) string {
	pure := len(layers[layer]) == 0
	if ours, ok := strings.CutPrefix(imported, module+"/"); ok {
		other, _, _ := strings.Cut(ours, "/")
		if other != layer && !slices.Contains(layers[layer], other) && (pure || !test) {
			return fmt.Sprintf("%s must not import %s", layer, other)
		}
		return ""
	}
	within := func(prefix string) bool { return imported == prefix || strings.HasPrefix(imported, prefix+"/") }
	for technology, owners := range technologies {
		if !test && within(technology) && !slices.Contains(owners, layer) {
			return fmt.Sprintf("%s must not import %s", layer, imported)
		}
	}
	if !test && pure && slices.ContainsFunc(impure, within) {
		return fmt.Sprintf("%s must not import %s", layer, imported)
	}
	return ""
}

func TestImports(t *testing.T) {
	found, err := violations(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, violation := range found {
		t.Error(violation)
	}
}

// The check on made-up trees: each rule must be able to fail, and what is allowed must pass.
func TestImportRules(t *testing.T) {
	tests := map[string]struct {
		file, source string
		want         string // empty: allowed
	}{
		"domain imports its own engine":          {"domain/a.go", `package domain; import _ "flagledger/domain/evaluation"`, ""},
		"domain imports a layer":                 {"domain/a.go", `package domain; import _ "flagledger/commands"`, "domain/a.go: domain must not import commands"},
		"domain subpackage imports a layer":      {"domain/evaluation/a.go", `package evaluation; import _ "flagledger/eventstore"`, "domain/evaluation/a.go: domain must not import eventstore"},
		"domain test imports a layer":            {"domain/a_test.go", `package domain_test; import _ "flagledger/projections"`, "domain/a_test.go: domain must not import projections"},
		"domain test reads golden files":         {"domain/a_test.go", `package domain_test; import _ "os"`, ""},
		"domain does I/O":                        {"domain/a.go", `package domain; import _ "os"`, "domain/a.go: domain must not import os"},
		"domain takes a context":                 {"domain/a.go", `package domain; import _ "context"`, "domain/a.go: domain must not import context"},
		"domain logs":                            {"domain/a.go", `package domain; import _ "log/slog"`, "domain/a.go: domain must not import log/slog"},
		"domain makes random numbers":            {"domain/a.go", `package domain; import _ "math/rand/v2"`, "domain/a.go: domain must not import math/rand/v2"},
		"domain hashes":                          {"domain/a.go", `package domain; import _ "crypto/md5"`, ""},
		"migrations import domain":               {"migrations/a.go", `package migrations; import _ "flagledger/domain"`, "migrations/a.go: migrations must not import domain"},
		"commands import the store":              {"commands/a.go", `package commands; import _ "flagledger/eventstore"`, "commands/a.go: commands must not import eventstore"},
		"commands test on the real store":        {"commands/a_test.go", `package commands_test; import (_ "flagledger/eventstore/storetest"; _ "github.com/nats-io/nats.go")`, ""},
		"projections know bbolt":                 {"projections/a.go", `package projections; import _ "go.etcd.io/bbolt"`, ""},
		"projections know nats":                  {"projections/a.go", `package projections; import _ "github.com/nats-io/nats.go"`, "projections/a.go: projections must not import github.com/nats-io/nats.go"},
		"a subpackage has its layer's rules":     {"projections/tlog/a.go", `package tlog; import _ "flagledger/commands"`, "projections/tlog/a.go: projections must not import commands"},
		"eventstore knows nats":                  {"eventstore/a.go", `package eventstore; import _ "github.com/nats-io/nats-server/v2/server"`, ""},
		"eventstore knows http":                  {"eventstore/a.go", `package eventstore; import _ "net/http"`, "eventstore/a.go: eventstore must not import net/http"},
		"http knows the store":                   {"http/a.go", `package httpapi; import _ "flagledger/eventstore"`, "http/a.go: http must not import eventstore"},
		"http knows bbolt":                       {"http/a.go", `package httpapi; import _ "go.etcd.io/bbolt"`, "http/a.go: http must not import go.etcd.io/bbolt"},
		"http knows watermill":                   {"http/a.go", `package httpapi; import _ "github.com/ThreeDotsLabs/watermill/message"`, "http/a.go: http must not import github.com/ThreeDotsLabs/watermill/message"},
		"the http folder under another name":     {"http/a.go", `package http`, "http/a.go: package http must be called httpapi"},
		"httpapi imported under its name":        {"cmd/flagledger/a.go", `package main; import httpapi "flagledger/http"`, ""},
		"httpapi imported without its name":      {"cmd/flagledger/a.go", `package main; import "flagledger/http"`, "cmd/flagledger/a.go: imports flagledger/http without the name httpapi"},
		"test support in the product":            {"cmd/flagledger/a.go", `package main; import _ "flagledger/eventstore/storetest"`, "cmd/flagledger/a.go: imports flagledger/eventstore/storetest outside a test"},
		"a similar name is another library":      {"commands/a.go", `package commands; import _ "net/httptest2"`, ""},
		"code of others is not looked at":        {"cmd/flagledger/e2e/node_modules/a/a.go", `package a; import "flagledger/http"`, ""},
		"a new folder at the top":                {"utils/a.go", `package utils`, "utils: is not part of the layout"},
		"a hidden folder at the top is a tool's": {".idea/a.xml", ``, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			tree := fstest.MapFS{test.file: {Data: []byte(test.source)}}
			for layer := range layers {
				tree[path.Join(layer, "doc.txt")] = &fstest.MapFile{}
			}
			found, err := violations(tree)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(found, "\n"); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	t.Run("an empty tree", func(t *testing.T) {
		found, err := violations(fstest.MapFS{})
		if err != nil || len(found) != len(layers) {
			t.Errorf("got %q and error %v, want one line for each missing layer", found, err)
		}
	})
}
