package httpapi

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"flagledger/domain"
	"flagledger/domain/evaluation"
)

// fetchDocument fetches the environment document.
func fetchDocument(t *testing.T, f *sdkFixture) (sdkDocument, http.Header, string) {
	t.Helper()
	w := f.serve(t, sdkCase{path: "/api/v1/environment-document/", key: serverKey})
	if w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	var d struct {
		sdkDocument
		UpdatedAt         string `json:"updated_at"`
		IdentityOverrides []struct {
			documentIdentity
			Created string `json:"created_date"`
		} `json:"identity_overrides"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	for _, i := range d.IdentityOverrides {
		d.sdkDocument.IdentityOverrides = append(d.sdkDocument.IdentityOverrides, i.documentIdentity)
	}
	return d.sdkDocument, w.Header(), w.Body.String()
}

// The whole document of a shop with everything in it, byte for byte.
func TestSDKDocument(t *testing.T) {
	f := newSDKFixture(t, sdkShop()...)
	f.persons.surrogates["11111111-2222-3333-4444-555555555555"] = "vip"
	f.commit(t, 1234567*time.Microsecond,
		domain.EnvironmentCreated{ID: 20, Key: "staging", Name: "Staging", ClientKey: "staging", Seeds: map[string]int32{"checkout": 21, "fraud_score": 22, "New_Search": 23, "old_cart": 24}},
		domain.SegmentOverrideSet{Environment: "staging", Feature: "checkout", Segment: "beta", Seed: 25, Enabled: true},
		domain.SegmentCreated{ID: 26, Key: "tenth", Revision: 1, Name: "A tenth", Rules: []evaluation.Rule{{Type: evaluation.All, Rules: []evaluation.Rule{
			{Type: evaluation.None, Conditions: []evaluation.Condition{{Property: "", Operator: evaluation.PercentageSplit, Value: "10"}, {Property: "plan", Operator: evaluation.IsSet}}},
		}}}},
		domain.SegmentCreated{ID: 27, Key: "only_search", Revision: 1, Name: "Only search", Feature: "New_Search", Rules: []evaluation.Rule{{Type: evaluation.Any}}},
		domain.SegmentCreated{ID: 28, Key: "not_used", Revision: 1, Name: "Not used here", Feature: "New_Search", Rules: []evaluation.Rule{{Type: evaluation.Any}}},
		domain.SegmentOverrideSet{Environment: "production", Feature: "New_Search", Segment: "only_search", Seed: 29, Enabled: true, Value: evaluation.String("classic"), Weights: map[string]float64{"grid": 54.54}},
		domain.SegmentOverrideSet{Environment: "production", Feature: "checkout", Segment: "tenth", Seed: 30, Place: 0, Value: evaluation.Bool(false)},
		domain.SegmentPinned{Environment: "production", Segment: "tenth", Revision: 1, Rules: []evaluation.Rule{{Type: evaluation.All, Conditions: []evaluation.Condition{{Property: "$.identity.key", Operator: evaluation.PercentageSplit, Value: "10"}}}}},
		domain.IdentityOverrideSet{Environment: "production", Identity: "11111111-2222-3333-4444-555555555555", Feature: "checkout", Enabled: true, Value: evaluation.Int(3)},
		domain.IdentityOverrideSet{Environment: "production", Identity: "11111111-2222-3333-4444-555555555555", Feature: "New_Search", Enabled: true, Variant: "list"},
		domain.IdentityOverrideSet{Environment: "production", Identity: "11111111-2222-3333-4444-555555555555", Feature: "gone", Enabled: true},
	)
	_, header, body := fetchDocument(t, f)
	var indented strings.Builder
	e := json.NewEncoder(&indented)
	e.SetIndent("", "  ")
	if err := e.Encode(json.RawMessage(body)); err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/sdk-environment-document.json"
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(golden, []byte(indented.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if indented.String() != string(want) {
		t.Errorf("the document differs from %s (UPDATE_GOLDEN=1 writes it anew):\n%s", golden, indented.String())
	}
	if got := header.Get("X-Flagsmith-Document-Updated-At"); got != "1772359201.484567" {
		t.Errorf("updated at %s", got)
	}
	if !strings.Contains(body, `"updated_at":"2026-03-01T10:00:01.484567+00:00"`) {
		t.Error("the document is of another time than its header")
	}
	again, _, _ := fetchDocument(t, f)
	if again.FeatureStates[0].UUID == again.FeatureStates[1].UUID {
		t.Error("two states have one UUID")
	}
}

// Seeds, ids and UUIDs stay when values, order and rules change.
func TestSDKDocumentKeepsIDs(t *testing.T) {
	f := newSDKFixture(t, sdkShop()...)
	before, _, _ := fetchDocument(t, f)
	f.commit(t, time.Second,
		domain.FeatureStateSet{Environment: "production", Feature: "New_Search", Enabled: false, Value: evaluation.String("x"), Weights: map[string]float64{"grid": 1, "list": 2}},
		domain.SegmentOverrideSet{Environment: "production", Feature: "checkout", Segment: "beta", Seed: 14, Value: evaluation.Null()},
	)
	after, _, _ := fetchDocument(t, f)
	for i, b := range before.FeatureStates {
		a := after.FeatureStates[i]
		if a.Seed != b.Seed || a.UUID != b.UUID {
			t.Errorf("%s: %d %s became %d %s", a.Feature.Name, b.Seed, b.UUID, a.Seed, a.UUID)
		}
		for j := range b.Variants {
			if a.Variants[j].ID != b.Variants[j].ID || a.Variants[j].UUID != b.Variants[j].UUID {
				t.Errorf("%s: variant %d changed its ids", a.Feature.Name, j)
			}
		}
	}
	if b, a := before.Project.Segments[0].FeatureStates[0], after.Project.Segments[0].FeatureStates[0]; a.Seed != b.Seed || a.UUID != b.UUID {
		t.Error("the segment override changed its ids")
	}
}

func TestSDKDocumentSettings(t *testing.T) {
	f := newSDKFixture(t, sdkShop()...)
	override := domain.IdentityOverrideSet{Environment: "production", Identity: "late", Feature: "checkout", Enabled: true, Value: evaluation.Int(3)}
	t.Run("a person this process does not know yet", func(t *testing.T) {
		f.commit(t, time.Second, override)
		d, h, _ := fetchDocument(t, f)
		if len(d.IdentityOverrides) != 0 || h.Get("ETag") != "" || h.Get("Last-Modified") != "" || h.Get("X-Flagsmith-Document-Updated-At") == "" {
			t.Errorf("%v %v", d.IdentityOverrides, h)
		}
		f.persons.Identify(sdkProduction, "x", nil)
		f.persons.mu.Lock()
		f.persons.surrogates["late"] = "late@example.com"
		f.persons.mu.Unlock()
		d, _, _ = fetchDocument(t, f)
		if len(d.IdentityOverrides) != 1 || d.IdentityOverrides[0].Identifier != "late@example.com" {
			t.Errorf("once it is known: %v", d.IdentityOverrides)
		}
	})
	t.Run("no identity overrides in local evaluation", func(t *testing.T) {
		f.settings(t, func(s *domain.EnvironmentSettings) { s.LocalIdentityOverrides = false })
		d, h, body := fetchDocument(t, f)
		if len(d.IdentityOverrides) != 0 || !strings.Contains(body, `"identity_overrides":[]`) || h.Get("ETag") == "" {
			t.Errorf("%s %v", body, h)
		}
	})
	t.Run("the project's setting is the one that counts", func(t *testing.T) {
		f.settings(t, func(s *domain.EnvironmentSettings) { s.HideDisabledFlags = new(bool); *s.HideDisabledFlags = true })
		d, _, _ := fetchDocument(t, f)
		if !d.Project.HideDisabledFlags || d.HideDisabledFlags == nil || !*d.HideDisabledFlags || len(d.FeatureStates) != 4 {
			t.Errorf("%+v", d)
		}
	})
	t.Run("without anything", func(t *testing.T) {
		_, _, body := fetchDocument(t, newSDKFixture(t))
		for _, list := range []string{`"segments":[]`, `"feature_states":[]`, `"identity_overrides":[]`, `"server_key_only_feature_ids":[]`} {
			if !strings.Contains(body, list) {
				t.Errorf("%s lacks %s", body, list)
			}
		}
	})
}
