package commands_test

import (
	"strings"
	"testing"

	"flagledger/commands"
	"flagledger/domain"
)

func TestProject(t *testing.T) {
	yes, no := new(true), new(false)
	long := strings.Repeat("x", domain.DefaultLimits().TextLength+1)
	deleteAll := []commands.Command{commands.DeleteEnvironment{Environment: "dev"}, commands.DeleteEnvironment{Environment: "prod"}, commands.DeleteProject{}}
	run(t, map[string]scenario{
		"create": {
			bare: true, again: true, when: commands.CreateProject{Key: "shop", Description: "things"},
			then: []string{`project.created.v1 {"key":"shop","name":"shop","description":"things","hide_disabled_flags":false,"persist_traits":true,"strict_contexts":false}`},
		},
		"create with settings": {
			bare: true, again: true, when: commands.CreateProject{Key: "shop", Name: "Shop", HideDisabledFlags: true, PersistTraits: no, StrictContexts: true},
			then: []string{`project.created.v1 {"key":"shop","name":"Shop","hide_disabled_flags":true,"persist_traits":false,"strict_contexts":true}`},
		},
		"create twice":                      {when: commands.CreateProject{Key: "shop"}, refused: `conflict key: already a project "shop"`},
		"create under another key":          {bare: true, when: commands.CreateProject{Key: "bank"}, refused: `invalid key: another project than "bank"`},
		"create under no key":               {bare: true, when: commands.CreateProject{}, refused: `invalid key: "" cannot be a key`},
		"create with a long name":           {bare: true, when: commands.CreateProject{Key: "shop", Name: long}, refused: `limit_reached name: 2001 characters; the limit is 2000`},
		"create with a bell in it":          {bare: true, when: commands.CreateProject{Key: "shop", Description: "\a"}, refused: `malformed description: control character at byte 0`},
		"create again after it was gone":    {given: deleteAll, when: commands.CreateProject{Key: "shop"}, again: true, then: []string{`project.created.v1 {"key":"shop","name":"shop","hide_disabled_flags":false,"persist_traits":true,"strict_contexts":false}`}},
		"update":                            {when: commands.UpdateProject{Name: new("The shop"), HideDisabledFlags: yes, PersistTraits: no}, then: []string{`project.updated.v1 {"name":"The shop","hide_disabled_flags":true,"persist_traits":false,"strict_contexts":false}`}},
		"update nothing":                    {when: commands.UpdateProject{}},
		"update to what it is":              {when: commands.UpdateProject{Name: new("Shop"), PersistTraits: yes}},
		"update without a name":             {when: commands.UpdateProject{Name: new("")}, refused: "invalid name: needs a name"},
		"update with a long description":    {when: commands.UpdateProject{Description: &long}, refused: "limit_reached description: the limit is 2000"},
		"update no project":                 {bare: true, when: commands.UpdateProject{}, refused: "not_found project: there is no such project"},
		"become strict, rules undeclared":   {when: commands.UpdateProject{StrictContexts: yes}, refused: `conflict : segment beta (rules[0].conditions[0]: the trait "email" is not declared`},
		"become strict, rules declared":     {given: []commands.Command{commands.SetContext{Key: "email", Type: domain.StringContext}, commands.SetContext{Key: "country", Type: domain.StringContext}}, when: commands.UpdateProject{StrictContexts: yes}, then: []string{`project.updated.v1 {"name":"Shop","hide_disabled_flags":false,"persist_traits":true,"strict_contexts":true}`}},
		"delete with environments":          {when: commands.DeleteProject{}, refused: `conflict : project "shop" still has environments: dev, prod; delete them first`},
		"delete":                            {given: deleteAll[:2], again: true, when: commands.DeleteProject{}, then: []string{`project.deleted.v1 {"key":"shop"}`}},
		"delete no project":                 {bare: true, when: commands.DeleteProject{}, refused: "not_found project: "},
		"delete a second time":              {given: deleteAll, when: commands.DeleteProject{}, refused: "not_found project: "},
		"an environment of no project":      {bare: true, when: commands.CreateEnvironment{Key: "dev"}, refused: "not_found project: "},
		"a feature of no project":           {bare: true, when: commands.CreateFeature{Key: "f"}, refused: "not_found project: "},
		"a segment of no project":           {bare: true, when: commands.CreateSegment{Key: "s"}, refused: "not_found project: "},
		"a state of no project":             {bare: true, when: commands.SetFeatureState{Environment: "dev", Feature: "f"}, refused: "not_found project: "},
		"a context of no project":           {bare: true, when: commands.SetContext{Key: "c", Type: domain.StringContext}, refused: "not_found project: "},
		"no context of no project":          {bare: true, when: commands.RemoveContext{Key: "c"}, refused: "not_found project: "},
		"a rollback in no project":          {bare: true, when: commands.Rollback{Environment: "dev", Version: 1}, refused: "not_found project: "},
		"the shop's feature after deletion": {given: deleteAll, when: commands.UpdateFeature{Feature: "checkout"}, refused: "not_found project: "},
	})
}
