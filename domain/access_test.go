package domain_test

import (
	"testing"
	"time"

	"flagledger/domain"
)

func TestAllows(t *testing.T) {
	grant := func(role domain.Role, where ...string) domain.Grant {
		g := domain.Grant{Role: role}
		if len(where) > 0 {
			g.Project = where[0]
		}
		if len(where) > 1 {
			g.Environment = where[1]
		}
		return g
	}
	for name, test := range map[string]struct {
		grants  []domain.Grant
		right   domain.Right
		project string
		env     string
		want    bool
	}{
		"nothing granted":                            {nil, domain.Read, "shop", "", false},
		"an unknown role":                            {[]domain.Grant{grant("king")}, domain.Read, "shop", "", false},
		"a viewer reads":                             {[]domain.Grant{grant(domain.Viewer)}, domain.Read, "shop", "prod", true},
		"a viewer has no history":                    {[]domain.Grant{grant(domain.Viewer)}, domain.Audit, "shop", "prod", false},
		"an auditor does not write":                  {[]domain.Grant{grant(domain.Auditor)}, domain.Write, "shop", "prod", false},
		"an approver does not write":                 {[]domain.Grant{grant(domain.Approver)}, domain.Write, "shop", "prod", false},
		"an editor writes":                           {[]domain.Grant{grant(domain.Editor)}, domain.Write, "shop", "prod", true},
		"an editor does not manage":                  {[]domain.Grant{grant(domain.Editor)}, domain.Manage, "shop", "prod", false},
		"an admin manages everything":                {[]domain.Grant{grant(domain.Admin)}, domain.Manage, "", "", true},
		"a project's admin does not":                 {[]domain.Grant{grant(domain.Admin, "shop")}, domain.Manage, "", "", false},
		"a project's admin manages the project":      {[]domain.Grant{grant(domain.Admin, "shop")}, domain.Manage, "shop", "", true},
		"and its environments":                       {[]domain.Grant{grant(domain.Admin, "shop")}, domain.Manage, "shop", "prod", true},
		"and no other project":                       {[]domain.Grant{grant(domain.Admin, "shop")}, domain.Manage, "bank", "", false},
		"an environment's editor writes there":       {[]domain.Grant{grant(domain.Editor, "shop", "dev")}, domain.Write, "shop", "dev", true},
		"and not next door":                          {[]domain.Grant{grant(domain.Editor, "shop", "dev")}, domain.Write, "shop", "prod", false},
		"and not what is shared":                     {[]domain.Grant{grant(domain.Editor, "shop", "dev")}, domain.Write, "shop", "", false},
		"and not in an environment of the same name": {[]domain.Grant{grant(domain.Editor, "shop", "dev")}, domain.Write, "bank", "dev", false},
		"but reads what is shared":                   {[]domain.Grant{grant(domain.Editor, "shop", "dev")}, domain.Read, "shop", "", true},
		"and not the history of what is shared":      {[]domain.Grant{grant(domain.Editor, "shop", "dev")}, domain.Audit, "shop", "", false},
		"and not what belongs to no project":         {[]domain.Grant{grant(domain.Editor, "shop", "dev")}, domain.Read, "", "", false},
		"the strongest of several grants counts":     {[]domain.Grant{grant(domain.Viewer), grant(domain.Editor, "shop")}, domain.Write, "shop", "prod", true},
	} {
		token := domain.Token{Grants: test.grants}
		if got := token.Allows(test.right, test.project, test.env); got != test.want {
			t.Errorf("%s: allowed %t, want %t", name, got, test.want)
		}
	}
}

func TestExpiry(t *testing.T) {
	now := time.Unix(1000, 0)
	for name, test := range map[string]struct {
		at      time.Time
		active  bool
		expired bool
		usable  bool
	}{
		"never":    {time.Time{}, true, false, true},
		"later":    {now.Add(1), true, false, true},
		"just now": {now, true, true, false},
		"earlier":  {now.Add(-1), true, true, false},
		"inactive": {time.Time{}, false, false, false},
	} {
		if got := (&domain.Token{ExpiresAt: test.at}).Expired(now); got != test.expired {
			t.Errorf("%s: token expired %t, want %t", name, got, test.expired)
		}
		if got := (&domain.SDKKey{ExpiresAt: test.at, Active: test.active}).Usable(now); got != test.usable {
			t.Errorf("%s: key usable %t, want %t", name, got, test.usable)
		}
	}
}
