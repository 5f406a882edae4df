package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/google/uuid"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/domain/evaluation"
	"flagledger/projections"
)

// The demo's project and secrets. They are public: never run the demo on data
// that matters.
const (
	demoProject     = "the-mart"
	demoAdminToken  = "flt_demo_admin"
	demoClientKey   = "mart_production" // other environments alike
	demoServerKey   = "ser.mart_production"
	demoSegment     = "western_users"
	demoIdentity    = "maria@example.com"
	demoBetaTester  = "ben@themart.example"
	demoVIP         = "vip-4711"
	demoLoneShopper = "shopper-1"
)

// demoToken is one of the people of the demo.
type demoToken struct {
	name, secret string
	grants       []domain.Grant
}

var demoTokens = []demoToken{
	{"Ana (product)", "flt_demo_ana", []domain.Grant{{Role: domain.Editor, Project: demoProject}}},
	{"Ben (platform)", demoAdminToken, []domain.Grant{{Role: domain.Admin, Project: demoProject}}},
	{"Chen (compliance)", "flt_demo_chen", []domain.Grant{{Role: domain.Auditor, Project: demoProject}}},
	{"CI", "flt_demo_ci", []domain.Grant{{Role: domain.Editor, Project: demoProject, Environment: "development"}}},
}

// tokenID is the same in every demo, so that a second start finds the first one's.
func (t demoToken) id() string { return uuid.NewSHA1(uuid.NameSpaceURL, []byte(t.secret)).String() }

func (t demoToken) actor() domain.Actor {
	return domain.Actor{Kind: "token", ID: t.id(), Name: t.name, Token: t.id()}
}

// demoChange is one change of the demo's history.
type demoChange struct {
	by             demoToken
	reason, ticket string
	commands       []commands.Command
}

// runDemo fills the shop in, where it is not there yet, and prints what to try.
// Each change has an idempotency key, so that a second start adds nothing.
func runDemo(ctx context.Context, service *commands.Service, l *ledger, url string, stdout io.Writer) error {
	for _, t := range demoTokens {
		create := commands.CreateToken{ID: t.id(), Name: t.name, Grants: t.grants}
		create, _ = create.WithSecret(t.secret)
		_, err := service.Do(ctx, commands.Change{
			Commands: []commands.Command{create}, Source: domain.SourceSystem, Reason: "demo", IdempotencyKey: "demo-token-" + t.name,
			Actor: domain.Actor{Kind: "system", ID: "demo", Name: "Flagledger"},
		})
		if err != nil {
			return fmt.Errorf("demo: token %s: %w", t.name, err)
		}
	}
	for i, change := range demoChanges() {
		_, err := service.Do(ctx, commands.Change{
			Project: demoProject, Commands: change.commands, Actor: change.by.actor(), Source: domain.SourceAPI,
			Client: domain.Client{IP: "127.0.0.1", UserAgent: "flagledger-demo"},
			Reason: change.reason, Ticket: change.ticket, IdempotencyKey: fmt.Sprintf("demo-%d", i+1),
		})
		if err != nil {
			return fmt.Errorf("demo: change %d (%s): %w", i+1, change.reason, err)
		}
	}
	return printDemo(l, url, stdout)
}

func demoChanges() []demoChange {
	ana, ben, ci := demoTokens[0], demoTokens[1], demoTokens[3]
	const dev, staging, production = "development", "staging", "production"
	one := func(by demoToken, ticket, reason string, cmds ...commands.Command) demoChange {
		return demoChange{by, reason, ticket, cmds}
	}
	rule := func(property string, operator evaluation.Operator, value string) []evaluation.Rule {
		return []evaluation.Rule{{Type: evaluation.All, Conditions: []evaluation.Condition{{Property: property, Operator: operator, Value: value}}}}
	}
	on, off := new(true), new(false)
	text := func(s string) commands.Optional[evaluation.Value] { return commands.Some(evaluation.String(s)) }
	server := commands.CreateSDKKey{Environment: production, ID: uuid.NewSHA1(uuid.NameSpaceURL, []byte(demoServerKey)).String(), Kind: domain.ServerKey, Name: "shop backend"}
	server, _ = server.WithSecret(demoServerKey)
	return []demoChange{
		one(ben, "MART-1", "open The MART",
			commands.CreateProject{Key: demoProject, Name: "The MART", Description: "an online shop"},
			commands.CreateEnvironment{Key: dev, Name: "Development", ClientKey: "mart_development"},
			commands.CreateEnvironment{Key: staging, Name: "Staging", ClientKey: "mart_staging"},
			commands.CreateEnvironment{Key: production, Name: "Production", ClientKey: demoClientKey},
			server),
		one(ana, "MART-7", "features for the autumn season",
			commands.CreateFeature{Key: "show_paypal_checkout", Description: "PayPal as a way to pay", Kind: domain.Release, Owners: []string{"checkout"}, Tags: []string{"checkout"}},
			commands.CreateFeature{
				Key: "ai_recommendation_engine", Description: "recommendations by a model instead of bestsellers", Kind: domain.Experiment,
				Owners: []string{"discovery"}, Tags: []string{"ml"}, InitialValue: evaluation.String("bestsellers"),
				Variants: []commands.VariantInput{{Key: "model", Value: evaluation.String("collaborative-v2")}},
			},
			commands.CreateFeature{
				Key: "new_search", Description: "which search answers", Kind: domain.Experiment, Owners: []string{"discovery"}, DefaultEnabled: true,
				InitialValue: evaluation.String("classic"),
				Variants: []commands.VariantInput{
					{Key: "semantic", Value: evaluation.String("semantic"), Weight: 30},
					{Key: "hybrid", Value: evaluation.String("hybrid"), Weight: 20},
				},
			},
			commands.CreateFeature{Key: "banner_text", Description: "line on top of the shop", Kind: domain.Ops, DefaultEnabled: true, InitialValue: evaluation.String("Welcome to The MART")}),
		one(ana, "MART-8", "who we talk about",
			commands.CreateSegment{Key: "beta_users", Name: "Beta users", Description: "people of our own", Rules: rule("email", evaluation.Regex, `^[^@]+@themart\.example$`)},
			commands.CreateSegment{Key: demoSegment, Name: "Western users", Rules: rule("country", evaluation.In, "US,CA")},
			commands.CreateSegment{Key: "mobile_4_2_plus", Name: "Mobile 4.2 and later", Rules: rule("app_version", evaluation.GreaterThanInclusive, "4.2.0:semver")},
			commands.CreateSegment{Key: "low_engagement", Name: "Low engagement", Rules: rule("sessions_per_month", evaluation.LessThan, "3")}),
		one(ci, "", "deploy 481: try PayPal where we build it", commands.SetFeatureState{Environment: dev, Feature: "show_paypal_checkout", StateInput: commands.StateInput{Enabled: on}}),
		one(ana, "MART-12", "PayPal for the West first",
			commands.SetSegmentOverride{Environment: production, Feature: "show_paypal_checkout", Segment: demoSegment, StateInput: commands.StateInput{Enabled: on}}),
		one(ana, "MART-12", "beta users see PayPal everywhere",
			commands.SetSegmentOverride{Environment: production, Feature: "show_paypal_checkout", Segment: "beta_users", StateInput: commands.StateInput{Enabled: on}}),
		one(ana, "MART-15", "recommendations for people who rarely come",
			commands.SetSegmentOverride{Environment: production, Feature: "ai_recommendation_engine", Segment: "low_engagement", StateInput: commands.StateInput{Enabled: on, Value: text("collaborative-v2")}}),
		one(ana, "MART-16", "and for 10 % of everyone",
			commands.SetFeatureState{Environment: production, Feature: "ai_recommendation_engine", StateInput: commands.StateInput{Enabled: on, Weights: commands.Some(map[string]float64{"model": 10})}}),
		one(ana, "MART-21", "the old app cannot draw the new banner",
			commands.SetFeatureState{Environment: production, Feature: "banner_text", StateInput: commands.StateInput{Value: text("Autumn sale: 20 % off")}},
			commands.SetSegmentOverride{Environment: production, Feature: "banner_text", Segment: "mobile_4_2_plus", StateInput: commands.StateInput{Value: text("Autumn sale: 20 % off, today only in the app")}}),
		one(ben, "MART-22", "a customer asked for the semantic search by name",
			commands.SetIdentityOverride{Environment: production, Feature: "new_search", Identifier: demoVIP, Enabled: on, Variant: new("semantic")}),
		one(ana, "MART-23", "beta users come first",
			commands.OrderSegmentOverrides{Environment: production, Feature: "show_paypal_checkout", Order: []string{"beta_users", demoSegment}}),
		one(ben, "INC-3", "semantic search is slow in staging",
			commands.SetFeatureState{Environment: staging, Feature: "new_search", StateInput: commands.StateInput{Enabled: off}}),
	}
}

// A demoRequest is a request to paste, and what its answer contains.
type demoRequest struct {
	title, command, answer string
}

// demoRequests are the four things to try first. version is the newest one of
// production.
func demoRequests(url string, version uint64) []demoRequest {
	admin := url + "/admin/v1/projects/" + demoProject
	bearer := "-H 'Authorization: Bearer " + demoAdminToken + "'"
	app := fmt.Sprintf("curl -s '%s/api/v1/identities/?feature=show_paypal_checkout' -H 'X-Environment-Key: %s' -H 'Content-Type: application/json' \\\n  -d '{\"identifier\": \"%s\", \"traits\": [{\"trait_key\": \"country\", \"trait_value\": \"MX\"}]}'",
		url, demoClientKey, demoIdentity)
	return []demoRequest{
		{"An app asks whether Maria, from Mexico, may pay with PayPal. She may not:", app, `"enabled":false`},
		{
			"An admin lets Mexico into the segment:",
			fmt.Sprintf("curl -s -X PATCH '%s/segments/%s' %s \\\n  -d '{\"rules\": [{\"type\": \"ALL\", \"conditions\": [{\"property\": \"country\", \"operator\": \"IN\", \"value\": \"US,CA,MX\"}]}], \"reason\": \"PayPal opens in Mexico\", \"ticket\": \"MART-31\"}'",
				admin, demoSegment, bearer),
			`"value":"US,CA,MX"`,
		},
		{"The app asks again, and now she may:", app, `"enabled":true`},
		{
			"Compliance asks who changed the segment, when, why, from what to what:",
			fmt.Sprintf("curl -s '%s/admin/v1/audit?project=%s&object=segment:%s&limit=1' -H 'Authorization: Bearer flt_demo_chen'", url, demoProject, demoSegment),
			`changed condition 1 of segment western_users: value \"US,CA\" to \"US,CA,MX\"`,
		},
		{
			fmt.Sprintf("The admin rolls production back to version %d, as it is before you begin:", version),
			fmt.Sprintf("curl -s '%s/environments/production/rollback' %s \\\n  -d '{\"version\": %d, \"plan_hash\": \"any\", \"reason\": \"Mexico was too early\", \"ticket\": \"INC-4\"}'", admin, bearer, version),
			fmt.Sprintf(`"to_version":%d`, version),
		},
		{"And Maria is asked for her card again:", app, `"enabled":false`},
	}
}

// printDemo prints what there is and what to try.
func printDemo(l *ledger, url string, stdout io.Writer) error {
	p := l.views.Project(domain.ProjectID(demoProject))
	production := projections.EnvironmentID{Project: p.ID, ID: p.Environments.Get("production").ID}
	l.Identify(production, demoLoneShopper, []evaluation.Trait{
		{Key: "country", Value: evaluation.String("CA")}, {Key: "sessions_per_month", Value: evaluation.Int(1)},
	})
	l.Identify(production, demoBetaTester, []evaluation.Trait{{Key: "email", Value: evaluation.String(demoBetaTester)}})
	var b strings.Builder
	fmt.Fprintf(&b, "\nThe MART is open at %s. Its keys and tokens are public: do not use the demo for anything else.\n", url)
	fmt.Fprintf(&b, "SDK key of production: %s (server side: %s)\nTokens: ", demoClientKey, demoServerKey)
	for i, t := range demoTokens {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s %s", t.secret, t.name)
	}
	b.WriteString("\n")
	for i, r := range demoRequests(url, l.views.CurrentVersion(production)) {
		fmt.Fprintf(&b, "\n%d. %s\n\n%s\n\n   answers ... %s ...\n", i+1, r.title, r.command, r.answer)
	}
	_, err := io.WriteString(stdout, b.String())
	return err
}
