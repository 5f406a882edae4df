package httpapi_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"flagledger/commands"
	"flagledger/commands/commandtest"
	"flagledger/domain"
	"flagledger/domain/evaluation"
	"flagledger/eventstore"
	"flagledger/projections"
)

// What the API says of the past, of random changes to several environments, on real parts, asked over a socket: every version answers as it
// did when it was the newest; a comparison, applied to the one side, gives the other; a rollback gives everybody what they got, elsewhere
// nothing, and can be rolled back; the last commit undone leaves nothing behind. In the end the log is played into an empty directory.
// More of it: make properties.
func TestAdminPast(t *testing.T) {
	a := newAdmin(t)
	projects := 0
	rapid.Check(t, func(t *rapid.T) {
		projects++
		p := &past{admin: a, key: fmt.Sprintf("shop-%d", projects), live: map[string][]liveVersion{}}
		if !p.do(t, commandtest.Opening(p.key)...) {
			t.Fatal("nothing is opened")
		}
		for range 8 {
			p.step(t)
		}
		p.asLive(t)
		p.compared(t)
		p.rolledBack(t)
		p.undone(t)
	})

	again, err := projections.Open(filepath.Join(t.TempDir(), "views.db"), projections.Options{Schema: 1})
	if err != nil {
		t.Fatal(err)
	}
	messages, err := a.store.Subscriber(again.Reached).Subscribe(t.Context(), eventstore.Subjects)
	if err != nil {
		t.Fatal(err)
	}
	for again.Position() < a.views.Position() {
		m := <-messages
		rec, err := eventstore.Decode(m)
		if err == nil {
			err = again.Apply(rec, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
		m.Ack()
	}
	compared := 0
	for _, p := range a.views.Projects() {
		for key, env := range p.Environments.All() {
			id := projections.EnvironmentID{Project: p.ID, ID: env.ID}
			want, err := a.views.Versions(id, 0, 1000)
			if err != nil {
				t.Fatal(err)
			}
			got, err := again.Versions(id, 0, 1000)
			if err != nil || len(got) == 0 || !slices.Equal(got, want) {
				t.Errorf("played again %s of %s has versions\n%v\nand had\n%v, error %v", key, p.Key, got, want, err)
			}
			compared += len(got)
		}
	}
	t.Logf("%d projects, %d commits, %d versions made again", projects, a.views.Position(), compared)
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

// past is a project that is changed at random, with what was live.
type past struct {
	*admin
	key  string
	live map[string][]liveVersion // by environment
}

// liveVersion is an environment at one version, as it was when that was the newest.
type liveVersion struct {
	environment int32 // its number
	number      uint64
	digest      string
	answers     map[string]map[string]liveAnswer // by identifier and feature
}

type liveAnswer struct {
	Reason  string           `json:"reason"`
	Enabled bool             `json:"enabled"`
	Value   evaluation.Value `json:"value"`
	Variant string           `json:"variant"`
}

func (p *past) project() *domain.Project { return p.views.Project(domain.ProjectID(p.key)) }

func (p *past) id(env string) projections.EnvironmentID {
	return projections.EnvironmentID{Project: p.project().ID, ID: p.project().Environments.Get(env).ID}
}

func (p *past) environments() []string { return p.project().Environments.Keys() }

// do carries commands out, and tells whether anything was recorded.
func (p *past) do(t *rapid.T, all ...commands.Command) bool {
	result, err := p.service.Do(p.t.Context(), commands.Change{Project: p.key, Commands: all, Actor: domain.Actor{ID: "ana"}, Source: domain.SourceAPI, Reason: "tested"})
	if _, refused := errors.AsType[*domain.Error](err); err != nil && !refused {
		t.Fatalf("%+v: %v", all, err)
	}
	p.note(t)
	return result.Recorded
}

// step carries out a random change. Of what is refused it tries another one, a few times.
func (p *past) step(t *rapid.T) {
	for range 5 {
		w := commandtest.World{
			Project: p.project(), Deleting: true,
			Version: func(environment int32) uint64 {
				return p.views.CurrentVersion(projections.EnvironmentID{Project: p.project().ID, ID: environment})
			},
			Surrogate: func(environment int32, identifier string) string {
				return p.parts.Lookup(p.project().ID, environment, identifier)
			},
			Position: rapid.Uint64Range(max(p.project().Position, 10)-10, p.project().Position),
		}
		var all []commands.Command
		for range rapid.SampledFrom([]int{1, 1, 1, 2, 3}).Draw(t, "commands") {
			c := w.Command(t)
			switch c.(type) {
			case commands.DeleteProject, commands.DeleteEnvironment:
				if _, whole := c.(commands.DeleteProject); whole || len(p.environments()) < 3 {
					continue // something has to be left to ask of
				}
			}
			all = append(all, c)
		}
		if len(all) > 0 && p.do(t, all...) {
			return
		}
	}
}

// note remembers what is live.
func (p *past) note(t *rapid.T) {
	for _, key := range p.environments() {
		id := p.id(key)
		s := p.views.Snapshot(id)
		known := p.live[key]
		if len(known) > 0 && known[0].environment != s.Environment.ID {
			known = nil // deleted and made again
		}
		if len(known) > 0 && known[len(known)-1].number == s.Version {
			continue
		}
		version, err := p.views.Version(id, s.Version)
		if err != nil {
			t.Fatal(err)
		}
		p.live[key] = append(known, liveVersion{s.Environment.ID, s.Version, version.Digest, p.answersOf(s)})
	}
}

// answersOf are those that apps get: all their routes ask the snapshot.
func (p *past) answersOf(s *projections.Snapshot) map[string]map[string]liveAnswer {
	all := map[string]map[string]liveAnswer{}
	for _, who := range commandtest.Identities() {
		who.Overrides = s.IdentityOverrides(p.parts.Lookup(s.Project.ID, s.Environment.ID, who.Identifier))
		all[who.Identifier] = map[string]liveAnswer{}
		for _, o := range s.Evaluation.Evaluate(nil, who) {
			all[who.Identifier][o.Flag.Name] = liveAnswer{o.Reason, o.Enabled, o.Value, o.Variant}
		}
	}
	return all
}

// call asks the API, and decodes the answer of a success.
func (p *past) call(t *rapid.T, method, path, body string, into any) int {
	path = "/admin/v1/projects/" + p.key + path
	req, err := http.NewRequestWithContext(p.t.Context(), method, p.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+p.secrets["root"])
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		t.Fatal(err)
	}
	if res.StatusCode == http.StatusOK {
		err = json.Unmarshal(answer, into)
	} else if res.StatusCode != http.StatusConflict {
		err = fmt.Errorf("status %d", res.StatusCode)
	}
	if err != nil {
		t.Fatalf("%s %s %s: %v: %s", method, path, body, err, answer)
	}
	return res.StatusCode
}

// asLive asks each version what some identities got.
func (p *past) asLive(t *rapid.T) {
	for _, key := range p.environments() {
		for _, then := range p.live[key] {
			all := commandtest.Identities()
			p.sameAnswers(t, key, all[rapid.IntRange(0, len(all)-1).Draw(t, "who")], then)
		}
	}
}

// sameAnswers asks what an identity got, and compares it with what it was live.
func (p *past) sameAnswers(t *rapid.T, env string, who *evaluation.Identity, then liveVersion) {
	traits := map[string]evaluation.Value{}
	for _, trait := range who.Traits {
		traits[trait.Key] = trait.Value
	}
	body, err := json.Marshal(map[string]any{"identifier": who.Identifier, "traits": traits, "as_of": fmt.Sprint(then.number)})
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Version uint64
		Flags   []struct {
			Feature string
			liveAnswer
		}
	}
	p.call(t, "POST", "/environments/"+env+"/evaluate", string(body), &answer)
	got := map[string]liveAnswer{}
	for _, f := range answer.Flags {
		got[f.Feature] = f.liveAnswer
	}
	if want := then.answers[who.Identifier]; answer.Version != then.number || !maps.Equal(got, want) {
		t.Fatalf("%s in %s gets as of version %d\n%v\nand got\n%v", who.Identifier, env, then.number, got, want)
	}
}

// contentOf is what a version has, part by part, without when it was made so.
func (p *past) contentOf(t *rapid.T, env string, version uint64) map[string]any {
	var answer struct {
		Digest  string
		Content struct{ Features, Segments, Identities []map[string]any }
	}
	p.call(t, "GET", fmt.Sprintf("/environments/%s/versions/%d", env, version), "", &answer)
	if want := p.live[env][version-1].digest; answer.Digest != want {
		t.Fatalf("version %d of %s has digest %s, and had %s", version, env, answer.Digest, want)
	}
	all := map[string]any{}
	for _, part := range answer.Content.Features {
		all[fmt.Sprint("feature:", part["feature"])] = plainly(part)
	}
	for _, part := range answer.Content.Segments {
		all[fmt.Sprint("segment:", part["key"])] = plainly(part)
	}
	for _, part := range answer.Content.Identities {
		delete(part, "identifier") // is no part of the content
		all[fmt.Sprint("identity:", part["identity"])] = plainly(part)
	}
	return all
}

// plainly leaves out what says when something was made so, and what is empty: a difference does neither tell.
func plainly(node any) any {
	switch node := node.(type) {
	case []any:
		for i := range node {
			node[i] = plainly(node[i])
		}
	case map[string]any:
		for name, member := range node {
			member = plainly(member)
			node[name] = member
			if name == "changed" || name == "created" || name == "last_node" || name == "revision" || member == nil || reflect.ValueOf(member).Kind() != reflect.String && reflect.ValueOf(member).Kind() != reflect.Bool &&
				reflect.ValueOf(member).Kind() != reflect.Float64 && reflect.ValueOf(member).Len() == 0 {
				delete(node, name)
			}
		}
	}
	return node
}

// compared applies comparisons of two points, also of two environments, to the content of the one, which must give that of the other.
func (p *past) compared(t *rapid.T) {
	for range 4 {
		var env [2]string
		var version [2]uint64
		for i := range env {
			env[i] = rapid.SampledFrom(p.environments()).Draw(t, "environment")
			version[i] = rapid.Uint64Range(1, uint64(len(p.live[env[i]]))).Draw(t, "version")
		}
		var diff struct {
			Changes []struct {
				Object, Action string
				After          map[string]any
				Differences    []domain.Difference
			}
		}
		p.call(t, "GET", fmt.Sprintf("/environments/%s/diff?from=%d&to=%s@%d", env[0], version[0], env[1], version[1]), "", &diff)
		got := p.contentOf(t, env[0], version[0])
		for _, c := range diff.Changes {
			switch c.Action {
			case "created":
				got[c.Object] = plainly(c.After)
			case "deleted":
				delete(got, c.Object)
			default:
				before, err := json.Marshal(got[c.Object])
				if err != nil {
					t.Fatal(err)
				}
				after, err := domain.Patch(before, c.Differences)
				if err != nil {
					t.Fatalf("%s: %+v to %s: %v", c.Object, c.Differences, before, err)
				}
				var part any
				if err := json.Unmarshal(after, &part); err != nil {
					t.Fatal(err)
				}
				got[c.Object] = plainly(part)
			}
		}
		if want := p.contentOf(t, env[1], version[1]); !reflect.DeepEqual(got, want) {
			t.Fatalf("%s@%d with the changes %+v\nis   %v\nwant %s@%d, %v", env[0], version[0], diff.Changes, got, env[1], version[1], want)
		}
	}
}

// digests are the newest ones.
func (p *past) digests() map[string]string {
	all := map[string]string{}
	for _, key := range p.environments() {
		known := p.live[key]
		all[key] = known[len(known)-1].digest
	}
	return all
}

// carryOut looks at a plan and carries it out as it was looked at.
func (p *past) carryOut(t *rapid.T, path, body string) (warnings []string, status int) {
	var plan struct {
		PlanHash string `json:"plan_hash"`
		Warnings []string
	}
	if status = p.call(t, "POST", path, "{"+body+`,"dry_run":true}`, &plan); status != http.StatusOK {
		return nil, status
	}
	status = p.call(t, "POST", path, "{"+body+fmt.Sprintf(`,"plan_hash":%q,"reason":"property"}`, plan.PlanHash), &plan)
	p.note(t)
	return slices.DeleteFunc(plan.Warnings, func(w string) bool { return strings.Contains(w, "settings are no part of a version") }), status
}

// rolledBack rolls an environment back, and the rollback. Everybody gets what they got then, of the features of then: what warnings tell of
// was deleted, or made, since.
func (p *past) rolledBack(t *rapid.T) {
	env := rapid.SampledFrom(p.environments()).Draw(t, "environment")
	then := p.live[env][rapid.IntRange(1, len(p.live[env])).Draw(t, "version")-1]
	begin, before := len(p.live[env]), p.digests()
	path := "/environments/" + env + "/rollback"
	elsewhere := func() map[string]string {
		now := p.digests()
		now[env] = before[env]
		return now
	}
	warnings, status := p.carryOut(t, path, fmt.Sprintf(`"version":%d`, then.number))
	if status != http.StatusOK {
		t.Fatalf("a rollback of %s to version %d answers %d", env, then.number, status)
	}
	if got := elsewhere(); !maps.Equal(got, before) {
		t.Fatalf("a rollback of %s leads to the digests %v, had %v", env, got, before)
	}
	if got := p.digests()[env]; len(warnings) == 0 && got != then.digest {
		var diff any
		p.call(t, "GET", fmt.Sprintf("/environments/%s/diff?from=%d&to=latest", env, then.number), "", &diff)
		t.Fatalf("rolled back, %s has digest %s, and had %s at version %d; that is %v", env, got, then.digest, then.number, diff)
	}
	if len(warnings) == 0 {
		then.number = p.live[env][len(p.live[env])-1].number
		for _, who := range commandtest.Identities() {
			p.sameAnswers(t, env, who, then)
		}
	}
	warnings, status = p.carryOut(t, path, fmt.Sprintf(`"version":%d`, begin))
	if got := p.digests(); status != http.StatusOK || len(warnings) > 0 || !maps.Equal(got, before) {
		t.Fatalf("the rollback rolled back leads to the digests %v, had %v; status %d, warnings %q", got, before, status, warnings)
	}
}

// undone undoes a change just made.
func (p *past) undone(t *rapid.T) {
	before, position := p.digests(), p.project().Position
	p.step(t)
	if p.project().Position == position {
		return
	}
	entry, err := p.views.AuditEntry(p.project().Position, nil)
	if err != nil {
		t.Fatal(err)
	}
	last := entry.Commit
	warnings, status := p.carryOut(t, "/undo", fmt.Sprintf(`"position":%d`, entry.Position))
	final := slices.ContainsFunc(last.Events, func(e domain.Event) bool {
		kind, _, _ := strings.Cut(e.EventType(), ".")
		return slices.Contains([]string{"project", "environment", "sdk_key"}, kind)
	})
	switch {
	case status == http.StatusConflict && final:
	case status != http.StatusOK:
		t.Fatalf("the last commit %v is not undone: %d", last.Events, status)
	case len(warnings) == 0 && !maps.Equal(p.digests(), before):
		t.Fatalf("the last commit %v undone leads to the digests %v, had %v", last.Events, p.digests(), before)
	}
}
