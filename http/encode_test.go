package httpapi

import (
	"encoding/json"
	"testing"

	"flagledger/domain"
	"flagledger/domain/evaluation"
)

func TestEncodeFlag(t *testing.T) {
	f := newSDKFixture(t, sdkShop()...)
	snapshot, _ := f.Views.SnapshotByKey(clientKey)
	hidden := *snapshot.Environment
	hidden.HideSensitiveData = true
	checkout, search := snapshot.Project.Features.Get("checkout"), snapshot.Project.Features.Get("New_Search")
	standard, multivariate := &evaluation.Flag{}, &evaluation.Flag{Multivariate: true}
	tests := map[string]struct {
		env     *domain.Environment
		feature *domain.Feature
		outcome evaluation.Outcome
		want    string
	}{
		"a state": {
			snapshot.Environment, checkout,
			evaluation.Outcome{Flag: standard, Enabled: true, Value: evaluation.String("classic"), Reason: "DEFAULT"},
			`{"id":4,"feature":{"id":3,"name":"checkout","created_date":"2026-03-01T10:00:00.250000+00:00","description":"How \"checkout\" looks",` +
				`"initial_value":"classic","default_enabled":true,"type":"STANDARD"},"feature_state_value":"classic","environment":2,` +
				`"identity":null,"feature_segment":null,"enabled":true,"variant":null,"reason":"DEFAULT"}`,
		},
		"a variant, whatever needs escaping": {
			snapshot.Environment, search,
			evaluation.Outcome{Flag: multivariate, Value: evaluation.String("größer\n\"\\\x00<"), Variant: "grid", Reason: "SPLIT; weight=30"},
			`{"id":8,"feature":{"id":7,"name":"New_Search","created_date":"2026-03-01T10:00:00.250000+00:00","description":null,` +
				`"initial_value":"classic","default_enabled":true,"type":"MULTIVARIATE"},"feature_state_value":"größer\n\"\\\u0000<","environment":2,` +
				`"identity":null,"feature_segment":null,"enabled":false,"variant":"grid","reason":"SPLIT; weight=30"}`,
		},
		"sensitive data hidden": {
			&hidden, checkout,
			evaluation.Outcome{Flag: standard, Value: evaluation.Int(-5), Reason: "TARGETING_MATCH; segment=beta"},
			`{"id":null,"feature":{"id":3,"name":"checkout","created_date":null,"description":null,"initial_value":null,"default_enabled":null,` +
				`"type":"STANDARD"},"feature_state_value":-5,"environment":null,"identity":null,"feature_segment":null,"enabled":false,` +
				`"variant":null,"reason":"TARGETING_MATCH; segment=beta"}`,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := EncodeFlag(snapshot.Project, tc.env, tc.feature, &tc.outcome)
			if string(got) != tc.want {
				t.Errorf("got\n%s\nwant\n%s", got, tc.want)
			}
			if !json.Valid(got) {
				t.Error("not valid JSON")
			}
		})
	}
}
