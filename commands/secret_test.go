package commands_test

import (
	"testing"
	"time"

	"flagledger/commands"
	"flagledger/domain"
)

func TestToken(t *testing.T) {
	admin := []domain.Grant{{Role: domain.Admin}}
	token := func(id string, grants []domain.Grant) commands.CreateToken {
		return commands.CreateToken{ID: id, Name: "Ana", Hash: "hash of " + id, Grants: grants}
	}
	with := func(c commands.CreateToken, change func(*commands.CreateToken)) commands.CreateToken {
		change(&c)
		return c
	}
	scenarios := map[string]scenario{
		"create":                         {when: with(token("t1", admin), func(c *commands.CreateToken) { c.ExpiresAt = now.Add(time.Hour) }), then: []string{`token.created.v1 {"id":"t1","name":"Ana","hash":"hash of t1","grants":[{"role":"admin"}],"expires_at":"2026-05-03T15:02:00Z"}`}},
		"create with grants":             {when: token("t1", []domain.Grant{{Role: domain.Editor, Project: "shop", Environment: "dev"}, {Role: domain.Viewer, Project: "bank"}}), then: []string{`token.created.v1 {"id":"t1","name":"Ana","hash":"hash of t1","grants":[{"role":"editor","project":"shop","environment":"dev"},{"role":"viewer","project":"bank"}]}`}},
		"create with the same secret":    {given: []commands.Command{token("t1", admin)}, when: with(token("t2", admin), func(c *commands.CreateToken) { c.Hash = "hash of t1" })},
		"create without a name":          {when: with(token("t1", admin), func(c *commands.CreateToken) { c.Name = "" }), refused: "invalid name: a token needs a name"},
		"create with a bell in it":       {when: with(token("t1", admin), func(c *commands.CreateToken) { c.Name = "\a" }), refused: "malformed name: "},
		"create without grants":          {when: token("t1", nil), refused: "invalid grants: a token needs at least one grant"},
		"create of another role":         {when: token("t1", []domain.Grant{{Role: "king"}}), refused: `invalid grants: "king" is not a role`},
		"create for any project's env":   {when: token("t1", []domain.Grant{{Role: domain.Viewer, Environment: "dev"}}), refused: `invalid grants: a grant for environment "dev" must name its project`},
		"create one that has run out":    {when: with(token("t1", admin), func(c *commands.CreateToken) { c.ExpiresAt = now }), refused: "invalid expires_at: 2026-05-03T14:02:00Z is in the past"},
		"create the first":               {when: with(token("t1", admin), func(c *commands.CreateToken) { c.First = true }), then: []string{`token.created.v1 {"id":"t1","name":"Ana","hash":"hash of t1","grants":[{"role":"admin"}]}`}},
		"create the first, a second one": {given: []commands.Command{token("t1", admin)}, when: with(token("t2", admin), func(c *commands.CreateToken) { c.First = true })},
		"revoke":                         {given: []commands.Command{token("t1", admin), token("t2", admin)}, again: true, when: commands.RevokeToken{ID: "t1"}, then: []string{`token.revoked.v1 {"id":"t1"}`}},
		"revoke the last admin":          {given: []commands.Command{token("t1", admin), token("t2", []domain.Grant{{Role: domain.Admin, Project: "shop"}})}, when: commands.RevokeToken{ID: "t1"}, refused: `conflict : token "Ana" is the last one that may administer everything`},
		"revoke all but the last admin":  {given: []commands.Command{token("t1", admin), token("t2", []domain.Grant{{Role: domain.Viewer}})}, again: true, when: commands.RevokeToken{ID: "t2"}, then: []string{`token.revoked.v1 {"id":"t2"}`}},
		"revoke an unknown one":          {when: commands.RevokeToken{ID: "t1"}, refused: `not_found id: there is no token "t1"`},
	}
	for name, s := range scenarios {
		s.bare = true
		scenarios[name] = s
	}
	run(t, scenarios)

	// Another admin that has run out does not count.
	d := newDecider(t, domain.DefaultLimits())
	d.must(token("t1", admin), with(token("t2", admin), func(c *commands.CreateToken) { c.ExpiresAt = now.Add(time.Hour) }))
	d.in.Now = now.Add(2 * time.Hour)
	if _, err := d.decide(commands.RevokeToken{ID: "t1"}); !refuses(err, "conflict : the last one") {
		t.Errorf("the last admin that has not run out is revoked: %s", refusal(err))
	}
}

func TestNewToken(t *testing.T) {
	a, secret := commands.NewToken("Ana", []domain.Grant{{Role: domain.Viewer}}, time.Time{})
	b, other := commands.NewToken("Ana", nil, time.Time{})
	if len(secret) != 56 || secret[:4] != "flt_" || a.Hash != commands.Hash(secret) || secret == other || a.ID == b.ID {
		t.Errorf("token %+v with secret %q, and another %+v with %q", a, secret, b, other)
	}
	if got, want := commands.Hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"; got != want {
		t.Errorf("hash %s, want %s, the SHA-256 of FIPS 180-4", got, want)
	}
}
