package commands_test

import (
	"testing"
	"time"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/domain/evaluation"
)

func TestEnvironment(t *testing.T) {
	yes, no := new(true), new(false)
	const settings = `"allow_client_traits":true,"hide_sensitive_data":false,"hide_disabled_flags":null,"use_identity_overrides_in_local_eval":true,"use_identity_composite_key_for_hashing":true`
	hide := commands.Settings{HideDisabledFlags: commands.Some(yes)}
	run(t, map[string]scenario{
		"create": {
			again: true, when: commands.CreateEnvironment{Key: "qa", ClientKey: "client_qa"},
			then: []string{`environment.created.v1 {"id":14,"key":"qa","name":"qa","client_key":"client_qa",` + settings + `,"seeds":{"checkout":15,"search":16}}`},
		},
		"create with settings": {
			again: true, when: commands.CreateEnvironment{Key: "qa", Name: "QA", ClientKey: "client_qa", Settings: commands.Settings{
				AllowClientTraits: no, HideSensitiveData: yes, HideDisabledFlags: commands.Some(no), LocalIdentityOverrides: no, CompositeIdentityHashing: yes,
			}},
			then: []string{`environment.created.v1 {"id":14,"key":"qa","name":"QA","client_key":"client_qa","allow_client_traits":false,"hide_sensitive_data":true,"hide_disabled_flags":false,"use_identity_overrides_in_local_eval":false,"use_identity_composite_key_for_hashing":true,"seeds":{"checkout":15,"search":16}}`},
		},
		"create twice":                       {when: commands.CreateEnvironment{Key: "dev"}, refused: `conflict key: already an environment "dev" in project "shop"`},
		"create without a key":               {when: commands.CreateEnvironment{}, refused: `invalid key: `},
		"create with a short client key":     {when: commands.CreateEnvironment{Key: "qa", ClientKey: "short"}, refused: `invalid client_key: "short" cannot be a client key`},
		"create with a taken client key":     {when: commands.CreateEnvironment{Key: "qa", ClientKey: "client_dev"}, refused: `conflict client_key: belongs to an environment already`},
		"create with an SDK key of another":  {given: []commands.Command{commands.CreateSDKKey{Environment: "dev", ID: "k", Kind: domain.ClientKey, Name: "web", Key: "client_web"}}, when: commands.CreateEnvironment{Key: "qa", ClientKey: "client_web"}, refused: `conflict client_key: `},
		"create with a bell in it":           {when: commands.CreateEnvironment{Key: "qa", Name: "\a"}, refused: "malformed name: "},
		"create with a hashing of its own":   {when: commands.CreateEnvironment{Key: "qa", Settings: commands.Settings{CompositeIdentityHashing: no}}, refused: "invalid use_identity_composite_key_for_hashing: SDKs in local evaluation"},
		"update to a hashing of its own":     {when: commands.UpdateEnvironment{Environment: "dev", Settings: commands.Settings{CompositeIdentityHashing: no}}, refused: "invalid use_identity_composite_key_for_hashing: "},
		"update":                             {when: commands.UpdateEnvironment{Environment: "dev", Name: new("Dev"), Settings: hide}, then: []string{`environment.updated.v1 {"environment":"dev","name":"Dev","allow_client_traits":true,"hide_sensitive_data":false,"hide_disabled_flags":true,"use_identity_overrides_in_local_eval":true,"use_identity_composite_key_for_hashing":true}`}},
		"update back to what the project is": {given: []commands.Command{commands.UpdateEnvironment{Environment: "dev", Settings: hide}}, when: commands.UpdateEnvironment{Environment: "dev", Settings: commands.Settings{HideDisabledFlags: commands.Some[*bool](nil)}}, then: []string{`environment.updated.v1 {"environment":"dev","name":"dev",` + settings + `}`}},
		"update nothing":                     {when: commands.UpdateEnvironment{Environment: "dev"}},
		"update to what it is":               {given: []commands.Command{commands.UpdateEnvironment{Environment: "dev", Settings: hide}}, when: commands.UpdateEnvironment{Environment: "dev", Name: new("dev"), Settings: commands.Settings{HideDisabledFlags: commands.Some(new(true)), AllowClientTraits: yes}}},
		"update without a name":              {when: commands.UpdateEnvironment{Environment: "dev", Name: new("")}, refused: "invalid name: needs a name"},
		"update an unknown one":              {when: commands.UpdateEnvironment{Environment: "qa"}, refused: `not_found environment: there is no environment "qa" in project "shop"`},
		"delete":                             {again: true, when: commands.DeleteEnvironment{Environment: "dev"}, then: []string{`environment.deleted.v1 {"environment":"dev"}`}},
		"delete an unknown one":              {when: commands.DeleteEnvironment{Environment: "qa"}, refused: `not_found environment: there is no environment "qa"`},
		"delete one that a backend uses": {
			given: []commands.Command{commands.CreateSDKKey{Environment: "dev", ID: "k", Kind: domain.ServerKey, Name: "backend", Hash: "ff"}},
			when:  commands.DeleteEnvironment{Environment: "dev"}, refused: `conflict : in use by the server-side SDK key "backend" (k); revoke it first`,
		},
		"delete one that a backend used": {
			given: []commands.Command{
				commands.CreateSDKKey{Environment: "dev", ID: "k", Kind: domain.ServerKey, Name: "backend", Hash: "ff"},
				commands.UpdateSDKKey{Environment: "dev", ID: "k", Active: no},
			},
			again: true, when: commands.DeleteEnvironment{Environment: "dev"}, then: []string{`environment.deleted.v1 {"environment":"dev"}`},
		},

		"clone": {
			given: []commands.Command{
				commands.UpdateEnvironment{Environment: "prod", Settings: hide},
				commands.SetFeatureState{Environment: "prod", Feature: "search", StateInput: weights(map[string]float64{"a": 10, "b": 20})},
				override("checkout", "us", value("us")), override("checkout", "beta", enabled(true)),
				override("search", "us", enabled(false)), commands.RemoveSegmentOverride{Environment: "prod", Feature: "search", Segment: "us"},
				commands.SetIdentityOverride{Environment: "prod", Feature: "search", Identifier: "ana", Variant: new("a")},
				commands.CreateSDKKey{Environment: "prod", ID: "k", Kind: domain.ServerKey, Name: "backend", Hash: "ff"},
			},
			again: true, when: commands.CloneEnvironment{Source: "prod", Key: "qa", ClientKey: "client_qa"},
			then: []string{
				`environment.created.v1 {"id":17,"key":"qa","name":"qa","client_key":"client_qa","allow_client_traits":true,"hide_sensitive_data":false,"hide_disabled_flags":true,"use_identity_overrides_in_local_eval":true,"use_identity_composite_key_for_hashing":true,"cloned_from":"prod","seeds":{"checkout":18,"search":19}}`,
				`segment_override.set.v1 {"environment":"qa","feature":"checkout","segment":"us","seed":20,"place":0,"enabled":false,"value":"us"}`,
				`segment_override.set.v1 {"environment":"qa","feature":"checkout","segment":"beta","seed":21,"place":1,"enabled":true,"value":"v1"}`,
				`feature_state.set.v1 {"environment":"qa","feature":"search","enabled":true,"value":null,"weights":{"a":10,"b":20}}`,
			},
		},
		"clone one that is as it began":  {again: true, when: commands.CloneEnvironment{Source: "prod", Key: "qa", ClientKey: "client_qa"}, then: []string{`environment.created.v1 {"id":14,"key":"qa","name":"qa","client_key":"client_qa",` + settings + `,"cloned_from":"prod","seeds":{"checkout":15,"search":16}}`}},
		"clone one with weights as zero": {given: []commands.Command{commands.SetFeatureState{Environment: "prod", Feature: "search", StateInput: weights(map[string]float64{"a": 40})}, commands.SetFeatureState{Environment: "prod", Feature: "search", StateInput: weights(map[string]float64{"a": 30})}}, again: true, when: commands.CloneEnvironment{Source: "prod", Key: "qa", ClientKey: "client_qa"}, then: []string{`environment.created.v1 {"id":14,"key":"qa","name":"qa","client_key":"client_qa",` + settings + `,"cloned_from":"prod","seeds":{"checkout":15,"search":16}}`}},
		"clone an unknown one":           {when: commands.CloneEnvironment{Source: "qa", Key: "qa2"}, refused: `not_found environment: there is no environment "qa"`},
		"clone to one that is there":     {when: commands.CloneEnvironment{Source: "prod", Key: "dev"}, refused: `conflict key: already an environment "dev"`},
		"clone to a taken client key":    {when: commands.CloneEnvironment{Source: "prod", Key: "qa", ClientKey: "client_dev"}, refused: `conflict client_key: `},
	})
}

// A clone evaluates as its source does, other numbers apart.
func TestCloneWithPins(t *testing.T) {
	d := newDecider(t, domain.DefaultLimits())
	d.must(shop()...)
	d.must(override("search", "us", enabled(true)))
	d.p, _ = d.p.Evolve([]domain.Event{
		domain.SegmentPinned{Environment: "prod", Segment: "us", Revision: 1, Rules: d.p.Segments.Get("us").Rules},
		domain.FeatureVariantsPinned{Environment: "prod", Feature: "search", Variants: d.p.Features.Get("search").Variants},
	}, domain.Stamp{})
	rules := when("country", evaluation.Equal, "CA")
	d.must(
		commands.UpdateSegment{Segment: "us", Rules: &rules},
		commands.SetVariants{Feature: "search", Variants: []commands.VariantInput{{Key: "a", Value: evaluation.String("new"), Weight: 50}, {Key: "b"}}},
		commands.CloneEnvironment{Source: "prod", Key: "qa"},
	)
	prod, qa := d.p.Environments.Get("prod"), d.p.Environments.Get("qa")
	us, search := d.p.Segments.Get("us"), d.p.Features.Get("search")
	if got, want := qa.RulesIn(us), prod.RulesIn(us); !domain.SameRules(got, want) {
		t.Errorf("the clone sees the rules %v, its source %v", got, want)
	}
	if got, want := qa.VariantsIn(search)[0], prod.VariantsIn(search)[0]; got != want {
		t.Errorf("the clone has the variant %v, its source %v", got, want)
	}
	if got, want := qa.States.Get("search").Weights, prod.States.Get("search").Weights; !domain.SameWeights(got, want) {
		t.Errorf("the clone splits by %v, its source by %v", got, want)
	}
}

func TestSDKKey(t *testing.T) {
	soon, past := now.Add(time.Hour), now.Add(-time.Hour)
	server := commands.CreateSDKKey{Environment: "dev", ID: "k1", Kind: domain.ServerKey, Name: "backend", Hash: "ff", ExpiresAt: soon}
	client := commands.CreateSDKKey{Environment: "dev", ID: "k2", Kind: domain.ClientKey, Name: "web", Key: "client_web"}
	with := func(c commands.CreateSDKKey, change func(*commands.CreateSDKKey)) commands.CreateSDKKey {
		change(&c)
		return c
	}
	run(t, map[string]scenario{
		"create for a backend":         {again: true, when: server, then: []string{`sdk_key.created.v1 {"environment":"dev","id":"k1","kind":"server","name":"backend","hash":"ff","expires_at":"2026-05-03T15:02:00Z"}`}},
		"create for a client":          {again: true, when: client, then: []string{`sdk_key.created.v1 {"environment":"dev","id":"k2","kind":"client","name":"web","key":"client_web"}`}},
		"create of another kind":       {when: with(client, func(c *commands.CreateSDKKey) { c.Kind = "both" }), refused: `invalid kind: "both" is not a kind of SDK key`},
		"create without a name":        {when: with(client, func(c *commands.CreateSDKKey) { c.Name = "" }), refused: "invalid name: a key needs a name"},
		"create with a bell in it":     {when: with(client, func(c *commands.CreateSDKKey) { c.Name = "\a" }), refused: "malformed name: "},
		"create one that has run out":  {when: with(client, func(c *commands.CreateSDKKey) { c.ExpiresAt = past }), refused: "invalid expires_at: 2026-05-03T13:02:00Z is in the past"},
		"create one that runs out now": {when: with(client, func(c *commands.CreateSDKKey) { c.ExpiresAt = now }), refused: "invalid expires_at: "},
		"create in no environment":     {when: with(client, func(c *commands.CreateSDKKey) { c.Environment = "qa" }), refused: `not_found environment: there is no environment "qa"`},
		"create with a taken key":      {given: []commands.Command{client}, when: with(client, func(c *commands.CreateSDKKey) { c.ID, c.Environment = "k3", "prod" }), refused: "conflict key: "},
		"create with a taken secret":   {given: []commands.Command{server}, when: with(server, func(c *commands.CreateSDKKey) { c.ID, c.Environment = "k3", "prod" }), refused: "conflict key: "},
		"create with a client key":     {when: with(client, func(c *commands.CreateSDKKey) { c.Key = "client_prod" }), refused: "conflict key: "},
		"update":                       {given: []commands.Command{server}, when: commands.UpdateSDKKey{Environment: "dev", ID: "k1", Name: new("api"), Active: new(false), ExpiresAt: commands.Some(time.Time{})}, then: []string{`sdk_key.updated.v1 {"environment":"dev","id":"k1","name":"api","active":false}`}},
		"update to run out at once":    {given: []commands.Command{server}, when: commands.UpdateSDKKey{Environment: "dev", ID: "k1", ExpiresAt: commands.Some(now)}, then: []string{`sdk_key.updated.v1 {"environment":"dev","id":"k1","name":"backend","active":true,"expires_at":"2026-05-03T14:02:00Z"}`}},
		"update to what it is":         {given: []commands.Command{server}, when: commands.UpdateSDKKey{Environment: "dev", ID: "k1", Active: new(true), ExpiresAt: commands.Some(soon.In(time.FixedZone("CET", 3600)))}},
		"update without a name":        {given: []commands.Command{server}, when: commands.UpdateSDKKey{Environment: "dev", ID: "k1", Name: new("")}, refused: "invalid name: a key needs a name"},
		"update an unknown one":        {when: commands.UpdateSDKKey{Environment: "dev", ID: "k1"}, refused: `not_found id: there is no SDK key "k1" in environment "dev"`},
		"update one next door":         {given: []commands.Command{server}, when: commands.UpdateSDKKey{Environment: "prod", ID: "k1"}, refused: `not_found id: there is no SDK key "k1" in environment "prod"`},
		"revoke":                       {given: []commands.Command{server}, again: true, when: commands.RevokeSDKKey{Environment: "dev", ID: "k1"}, then: []string{`sdk_key.revoked.v1 {"environment":"dev","id":"k1"}`}},
		"revoke an unknown one":        {when: commands.RevokeSDKKey{Environment: "dev", ID: "k1"}, refused: "not_found id: "},
		"revoke in no environment":     {when: commands.RevokeSDKKey{Environment: "qa", ID: "k1"}, refused: "not_found environment: "},
	})
}

func TestNewSDKKey(t *testing.T) {
	server, secret := commands.NewSDKKey("dev", "backend", domain.ServerKey, time.Time{})
	if len(secret) != 30 || secret[:4] != "ser." || server.Hash != commands.Hash(secret) || server.Key != "" {
		t.Errorf("server key %+v with secret %q", server, secret)
	}
	client, key := commands.NewSDKKey("dev", "web", domain.ClientKey, time.Time{})
	if len(key) != 26 || client.Key != key || client.Hash != "" || client.ID == server.ID {
		t.Errorf("client key %+v with key %q", client, key)
	}
}
