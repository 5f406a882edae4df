package httpapi_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"flagledger/domain"
	"flagledger/domain/evaluation"
	"flagledger/projections"
)

// leaving is the context of a client that goes away once the server has asked
// some times whether it is there.
type leaving struct {
	context.Context
	left atomic.Int64
}

func (c *leaving) Err() error {
	if c.left.Add(-1) < 0 {
		return context.Canceled
	}
	return nil
}

// What takes long ends when the client has gone.
func TestAdminClientGone(t *testing.T) {
	a := newAdmin(t)
	a.openShop()
	shop := domain.ProjectID("shop")
	live := projections.EnvironmentID{Project: shop, ID: a.views.Project(shop).Environments.Get("live").ID}
	const persons = 300
	for i := range persons {
		a.parts.Identify(live, fmt.Sprint("person", i), []evaluation.Trait{{Key: "n", Value: evaluation.Int(int64(i))}})
	}
	impact := `{"commands":[{"command":"set_feature_state","environment":"live","feature":"checkout","value":"one page"}],"impact":{"stored":1000}}`
	for _, test := range []struct {
		method, path, body string
		patience           int64 // times that the server may ask
		status             int
	}{
		{"POST", P + "/changes?dry_run=true", impact, 1 << 30, 200},
		{"POST", P + "/changes?dry_run=true", impact, persons / 2, 499},
		{"GET", "/admin/v1/audit", "", 1 << 30, 200},
		{"GET", "/admin/v1/audit", "", 1, 499},
		{"GET", "/admin/v1/audit?project=shop&environment=live", "", 1, 499},
	} {
		ctx := &leaving{Context: t.Context()}
		ctx.left.Store(test.patience)
		req := httptest.NewRequestWithContext(ctx, test.method, test.path, strings.NewReader(test.body))
		req.Header.Set("Authorization", "Bearer "+a.secrets["root"])
		if test.body != "" {
			req.Header.Set("Content-Type", "application/json")
		}
		w := httptest.NewRecorder()
		a.server.ServeHTTP(w, req)
		if w.Code != test.status || w.Code != http.StatusOK && w.Body.Len() > 0 {
			t.Errorf("%s %s to a client that goes after %d: %d %s, want %d", test.method, test.path, test.patience, w.Code, w.Body, test.status)
		}
	}
}
