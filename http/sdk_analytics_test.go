package httpapi

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"flagledger/projections"
)

// reports notes what it is told.
type reports []string

func (r *reports) Report(environment projections.EnvironmentID, feature string, count int64) {
	*r = append(*r, fmt.Sprintf("%v %s%d", environment == sdkProduction, feature, count))
}

func (r *reports) Counts(projections.EnvironmentID, string, time.Time, time.Time) ([]UsageCount, error) {
	return nil, nil
}

func TestSDKAnalytics(t *testing.T) {
	const v1, v2 = "/api/v1/analytics/flags/", "/api/v2/analytics/flags/"
	tests := []struct {
		sdkCase
		want string
	}{
		{sdkCase{path: v1, body: `{"checkout":3,"no":4,"new_search":1,"old_cart":true,"fraud_score":"2","Old_Cart":1.0}`, status: 200, contains: "="}, "true checkout3 true New_Search1"},
		{sdkCase{path: v1, body: `{"checkout":9223372036854775807}`, status: 200, contains: "="}, "true checkout1000000000"},
		{sdkCase{path: v1, body: `{"checkout":0,"old_cart":-1}`, status: 200, contains: "="}, ""},
		{sdkCase{path: v1, body: `[]`, status: 400, contains: `={"non_field_errors":["Expected a JSON object."]}`}, ""},
		{sdkCase{path: v1, body: `{"checkout":3,`, status: 400, contains: "JSON parse error"}, ""},
		{sdkCase{path: v2, body: `{"evaluations":[{"feature_name":"checkout","identity_identifier":"ada","enabled_when_evaluated":true,"count":2},{"feature_name":"no","enabled_when_evaluated":false,"count":2}]}`, status: 204, contains: "="}, "true checkout2"},
		{sdkCase{path: v2, body: `{"evaluations":[]}`, status: 204, contains: "="}, ""},
		{sdkCase{path: v2, body: `{}`, status: 400, contains: `={"evaluations":["This field is required."]}`}, ""},
		{sdkCase{path: v2, body: `{"evaluations":7}`, status: 400, contains: `={"evaluations":["Expected a list of items but got type \"int\"."]}`}, ""},
		{sdkCase{path: v2, body: `{"evaluations":[{"feature_name":"checkout","count":1,"enabled_when_evaluated":true},{"count":"x"}]}`, status: 400,
			contains: `={"evaluations":[{},{"count":["A valid integer is required."],"enabled_when_evaluated":["This field is required."],"feature_name":["This field is required."]}]}`}, ""},
	}
	f := newSDKFixture(t, sdkShop()...)
	for _, tc := range tests {
		var got reports
		f.Usage = &got
		f.run(t, []sdkCase{tc.sdkCase})
		if all := strings.Join(slices.Clone(got), " "); all != tc.want {
			t.Errorf("%s %s: reported %q, want %q", tc.path, tc.body, all, tc.want)
		}
	}
	f.Usage = nil // nobody listens
	f.run(t, []sdkCase{tests[0].sdkCase})
}
