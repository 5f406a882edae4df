package httpapi_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"flagledger/domain"
	"flagledger/domain/evaluation"
	"flagledger/projections"
)

// store keeps traits of somebody in the live environment of the shop.
func (a *admin) storeTraits(identifier string, traits ...evaluation.Trait) *domain.Identity {
	a.t.Helper()
	id := domain.ProjectID("shop")
	return a.parts.Identify(projections.EnvironmentID{Project: id, ID: a.views.Project(id).Environments.Get("live").ID}, identifier, traits)
}

// find are the positions that a filter of the audit finds, page by page.
func (a *admin) find(token, query string, limit int) []uint64 {
	a.t.Helper()
	positions := []uint64{}
	for cursor := ""; ; {
		var page struct {
			Items []auditEntry
			Next  string
		}
		path := fmt.Sprintf("/admin/v1/audit?%s&limit=%d", query, limit)
		if cursor != "" {
			path += "&cursor=" + cursor
		}
		a.getBy(token, path, &page)
		for _, e := range page.Items {
			positions = append(positions, e.Position)
		}
		if cursor = page.Next; cursor == "" {
			return positions
		}
		if len(page.Items) != limit {
			a.t.Errorf("%s: a page of %d has %d entries, and another follows", query, limit, len(page.Items))
		}
	}
}

// recorded makes a call and returns the position of its commit.
func (a *admin) recorded(c call) (position uint64) {
	a.t.Helper()
	got := a.ask(c)
	if _, err := fmt.Sscan(got.header.Get("Flagledger-Position"), &position); err != nil {
		a.t.Fatalf("%s: no position: %v", c, err)
	}
	return position
}

// Stored traits are not used any more once they are declared sensitive, so the declaration changes what a feature evaluates to for those who are
// stored, wherever an override's segment asks for the trait: with the pinned rules in live, with those of all in test.
func TestAdminAffectsOfContexts(t *testing.T) {
	a := newAdmin(t)
	a.openShop()
	plan := `{"rules":[{"type":"ALL","conditions":[{"property":"$.identity.traits.plan","operator":"EQUAL","value":"pro"}]}]}`
	a.ask(call{method: "PUT", path: P + "/environments/test/features/banner/segment-overrides/west", body: `{"enabled":true}`, status: 200})
	var live struct{ Version uint64 }
	a.get(E, &live)
	a.ask(call{method: "PATCH", path: P + "/segments/west", body: plan, status: 200})
	a.ask(call{method: "POST", path: E + "/rollback", body: fmt.Sprintf(`{"version":%d,"plan_hash":"any","reason":"pin"}`, live.Version), status: 200, contains: `"segment_pin:live/west"`})
	a.storeTraits("ada", evaluation.Trait{Key: "country", Value: evaluation.String("US")}, evaluation.Trait{Key: "plan", Value: evaluation.String("pro")})
	a.storeTraits("bob", evaluation.Trait{Key: "country", Value: evaluation.String("FR")})
	version := func() uint64 { a.get(E, &live); return live.Version }
	evaluates := func(value string) {
		t.Helper()
		a.ask(call{method: "POST", path: E + "/evaluate", body: `{"identifier":"ada","feature":"checkout"}`, status: 200, contains: fmt.Sprintf(`"value":%q`, value)})
		a.ask(call{method: "POST", path: E + "/evaluate", body: `{"identifier":"ada","feature":"checkout","traits":{"country":"US"}}`, status: 200, contains: `"value":"paypal"`})
	}
	const affects = "project=shop&environment=%s&affects=feature:%s"
	for _, one := range []struct {
		command       string
		live, test    bool   // whose features are affected
		impact, value string // the value is that for ada in live
		effective     string
	}{
		{command: `{"command":"set_context","key":"country","type":"string"}`, impact: `"environments":[]`, value: "paypal"},
		{command: `{"command":"set_context","key":"country","type":"string","privacy":"sensitive"}`, live: true, value: "classic",
			impact:    `"environment":"live","sampled":2,"affected":1,"flips":[{"feature":"checkout","from":{"enabled":true,"value":"paypal" ... "to":{"enabled":true,"value":"classic" ... "examples":["ada"]`,
			effective: `"effective":{"before":{"state": ... "unused_traits":["country"]`},
		{command: `{"command":"set_context","key":"country","type":"string","privacy":"sensitive","description":"where"}`, impact: `"environments":[]`, value: "classic"},
		{command: `{"command":"remove_context","key":"country"}`, live: true, // what was stored is deleted by then
			impact:    `"environments":[{"environment":"live","sampled":2,"affected":0,"flips":[]}]`,
			effective: `"unused_traits":["country"]},"after":`},
		{command: `{"command":"set_context","key":"plan","type":"string","privacy":"sensitive"}`, test: true,
			impact: `"environments":[{"environment":"test","sampled":0,"affected":0`, effective: `"unused_traits":["plan"]`},
	} {
		was := version()
		a.ask(call{method: "POST", path: P + "/changes?dry_run=true&impact=true", body: `{"commands":[` + one.command + `]}`, status: 200, contains: one.impact})
		position := a.recorded(call{method: "POST", path: P + "/changes", body: `{"reason":"privacy","commands":[` + one.command + `]}`, status: 200})
		if one.value != "" {
			evaluates(one.value)
		}
		if is := version(); is != was {
			t.Errorf("%s makes version %d of %d", one.command, is, was)
		}
		for _, in := range []struct {
			environment, feature string
			affected             bool
		}{{"live", "checkout", one.live}, {"test", "banner", one.test}, {"live", "banner", false}, {"test", "checkout", false}} {
			query := fmt.Sprintf(affects, in.environment, in.feature)
			if found := slices.Contains(a.find("root", query, 50), position); found != in.affected {
				t.Errorf("%s affects %s in %s: %t", one.command, in.feature, in.environment, found)
			}
			if in.affected {
				a.ask(call{method: "GET", path: "/admin/v1/audit?limit=1&" + query, status: 200, contains: one.effective})
			}
		}
	}
}

// The undertaking is found with the commit that began it, whose own id names it, and can be undone as a whole.
func TestAdminUndertaking(t *testing.T) {
	a := newAdmin(t)
	a.openShop()
	first := a.recorded(call{method: "PATCH", path: E + "/features/checkout", body: `{"value":"one page"}`, status: 200})
	var entry auditEntry
	a.get(fmt.Sprint("/admin/v1/audit/", first), &entry)
	other := a.recorded(call{method: "PATCH", path: E + "/features/search", body: `{"enabled":true}`, status: 200})
	second := a.recorded(call{method: "PATCH", path: E + "/features/banner", header: "Correlation-Id: " + entry.CorrelationID, body: `{"value":"new"}`, status: 200})
	if got, want := a.find("root", "correlation_id="+entry.CorrelationID, 50), []uint64{second, first}; !slices.Equal(got, want) {
		t.Errorf("found %v, want %v, and not %d", got, want, other)
	}
	undone := a.ask(call{method: "POST", path: P + "/undo", status: 200, body: fmt.Sprintf(`{"correlation_id":%q,"plan_hash":"any","reason":"a mistake"}`, entry.CorrelationID),
		contains: `"object":"state:live/banner" ... "object":"state:live/checkout"`})
	if strings.Contains(undone.body, "search") {
		t.Errorf("what does not belong to it is undone: %s", undone.body)
	}
	a.ask(call{method: "GET", path: E + "/features/checkout", status: 200, contains: `"value":"classic"`})
	a.ask(call{method: "GET", path: E + "/features/search", status: 200, contains: `"enabled":true`})
}

// What affected a feature is found in an environment that is gone, and together with what does in the next of its key; times tell them apart.
func TestAdminAffectsOfGone(t *testing.T) {
	a := newAdmin(t)
	a.openShop()
	old := a.recorded(call{method: "PATCH", path: E + "/features/checkout", body: `{"value":"old"}`, status: 200})
	a.ask(call{method: "DELETE", path: E, status: 204})
	const affects = "project=shop&environment=live&affects=feature:checkout"
	if got := a.find("root", affects, 50); len(got) == 0 || got[0] != old {
		t.Errorf("of what is gone %v is found, want %d first", got, old)
	}
	a.ask(call{method: "GET", path: "/admin/v1/audit?limit=1&" + affects, status: 200, contains: `"before":{"state": ... "value":"classic" ... "after":{"state": ... "value":"old"`})
	made := a.recorded(call{method: "POST", path: P + "/environments", body: `{"key":"live","name":"Live"}`, status: 201})
	now := a.recorded(call{method: "PATCH", path: E + "/features/checkout", body: `{"value":"now"}`, status: 200})
	if got := a.find("root", affects, 50); len(got) < 3 || !slices.Equal(got[:3], []uint64{now, made, old}) {
		t.Errorf("of both %v are found, want %v first", got, []uint64{now, made, old})
	}
	var entry struct {
		At string `json:"recorded_at"`
	}
	a.get(fmt.Sprint("/admin/v1/audit/", made), &entry)
	if got := a.find("root", affects+"&to="+entry.At, 50); len(got) == 0 || got[0] != old {
		t.Errorf("before %s %v are found, want %d first", entry.At, got, old)
	}
	if got, want := a.find("root", affects+"&from="+entry.At, 1), []uint64{now, made}; !slices.Equal(got, want) {
		t.Errorf("since %s %v are found, want %v", entry.At, got, want)
	}
}

// A filter finds an entry by what of it may be seen, not by what is hidden.
func TestAdminFiltersOfTheVisible(t *testing.T) {
	a := newAdmin(t)
	a.openShop()
	a.token("live", `{"role":"auditor","project":"shop","environment":"live"}`)
	var mixed []uint64
	for i := range 5 {
		mixed = append(mixed, a.recorded(call{method: "POST", path: P + "/changes", status: 200, body: fmt.Sprintf(`{"reason":"summer","commands":[
			{"command":"set_feature_state","environment":"live","feature":"banner","value":"visible %d"},
			{"command":"set_feature_state","environment":"test","feature":"checkout","value":"secret %d"},
			{"command":"set_segment_override","environment":"test","feature":"search","segment":"west","enabled":true,"value":"hidden %d"}]}`, i, i, i)}))
	}
	slices.Reverse(mixed)
	for query, of := range map[string][2][]uint64{ // found by root, and by who may see live
		"q=visible":                                        {mixed, mixed},
		"q=summer":                                         {mixed, mixed},
		"q=summer+visible":                                 {mixed, mixed},
		"q=secret":                                         {mixed, {}},
		"q=secret+summer":                                  {mixed, {}},
		"object=state:*&q=summer":                          {mixed, mixed},
		"object=feature:checkout&q=summer":                 {mixed, {}},
		"object=feature:banner&q=summer":                   {mixed, mixed},
		"object=overrides:*&q=summer":                      {mixed, {}},
		"object=segment:west&q=summer":                     {mixed, {}},
		"type=feature_state.set.v1":                        {mixed, mixed},
		"type=segment_override.set.v1&q=summer":            {mixed, {}},
		"reason=summer":                                    {mixed, mixed},
		"environment=live&q=summer":                        {mixed, mixed},
		"environment=live&affects=feature:banner&q=summer": {mixed, mixed},
	} {
		for i, token := range []string{"root", "live"} {
			for _, limit := range []int{2, 50} {
				if got := a.find(token, "project=shop&"+query, limit); !slices.Equal(got, of[i]) {
					t.Errorf("%s finds %v by %s, want %v by %s", query, got, fmt.Sprint(limit), of[i], token)
				}
			}
		}
	}
	for _, query := range []string{"object=state:test/checkout", "object=state:test/*", "object=overrides:test/*", "environment=test"} {
		a.ask(call{method: "GET", token: "live", path: "/admin/v1/audit?project=shop&" + query, status: 404})
		a.ask(call{method: "GET", path: "/admin/v1/audit?project=shop&" + query, status: 200, contains: `"position":`})
	}
}

// A person is looked for by the identifier, which stands in no index, or by the surrogate.
func TestAdminAuditOfPerson(t *testing.T) {
	a := newAdmin(t)
	a.openShop()
	a.token("test", `{"role":"auditor","project":"shop","environment":"test"}`)
	override := func(name string) uint64 {
		return a.recorded(call{method: "PUT", path: E + "/features/banner/identity-overrides/" + name, body: `{"enabled":true}`, status: 200})
	}
	set := override("vip%2F4711*")
	surrogate := a.storeTraits("vip/4711*").Surrogate
	override("somebody")
	impostor := override(surrogate) // who calls himself like that
	a.storeTraits("known")
	for name, want := range map[string][]uint64{"vip/4711*": {set}, surrogate: {set}, "*": nil} {
		got := a.find("root", "project=shop&object=identity:live/"+name, 50)
		if want != nil && !slices.Equal(got, want) || want == nil && (len(got) != 3 || got[0] != impostor) {
			t.Errorf("%s: found %v, want %v", name, got, want)
		}
	}
	const hint = `named by its identifier, or its surrogate once it is erased`
	for _, c := range []call{
		{path: "live/nobody", status: 404, contains: `nothing about object \"identity:live/nobody\"; an identity is ` + hint},
		{path: "live/known", status: 404, contains: `\"identity:live/known\" ... ` + hint},
		{path: "test/vip/4711*", status: 404, contains: hint},
		{path: "live/vip/4711*", token: "test", status: 404, contains: hint},
	} {
		c.method, c.path = "GET", "/admin/v1/audit?project=shop&object=identity:"+c.path
		a.ask(c)
	}
	a.ask(call{method: "DELETE", path: E + "/identities/vip%2F4711%2A", status: 204})
	a.ask(call{method: "GET", path: "/admin/v1/audit?project=shop&object=identity:live/vip/4711*", status: 404, contains: hint})
	if got := a.find("root", "project=shop&object=identity:live/"+surrogate, 50); !slices.Contains(got, set) {
		t.Errorf("of who is erased %v are found, not %d", got, set)
	}
}

// A segment that was edited there and back is no difference, though its revision is another.
func TestAdminDiffOfTheSame(t *testing.T) {
	a := newAdmin(t)
	a.openShop()
	var was, is struct{ Version uint64 }
	a.get(E, &was)
	for _, value := range []string{"MX", "US,CA"} {
		a.ask(call{method: "PATCH", path: P + "/segments/west", body: `{"rules":[{"id":"r2","type":"ALL","conditions":[{"id":"c1","property":"country","operator":"IN","value":"` + value + `"}]}]}`, status: 200})
	}
	a.get(E, &is)
	var diff struct {
		From, To struct{ Digest string }
		Changes  []any
	}
	a.get(fmt.Sprintf("%s/diff?from=%d&to=%d", E, was.Version, is.Version), &diff)
	if was.Version == is.Version || diff.From.Digest != diff.To.Digest || len(diff.Changes) > 0 {
		t.Errorf("from %d to %d: %+v", was.Version, is.Version, diff)
	}
}
