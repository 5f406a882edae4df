package httpapi

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"flagledger/domain/evaluation"
)

func TestSDKTraits(t *testing.T) {
	f := newSDKFixture(t, sdkShop()...)
	const one, bulk, increment = "/api/v1/traits/", "/api/v1/traits/bulk/", "/api/v1/traits/increment-value/"
	const required = `["This field is required."]`
	f.run(t, []sdkCase{
		{path: one, body: `{"identity":{"identifier":"ada"},"trait_key":"plan","trait_value":"pro"}`, status: 200, contains: `={"identity":{"identifier":"ada"},"trait_key":"plan","trait_value":"pro"}`},
		{path: "/api/v1/traits", body: `{"trait_key":"visits","trait_value":4,"identity":{"identifier":"ada","more":1}}`, status: 200, contains: `={"identity":{"identifier":"ada"},"trait_key":"visits","trait_value":4}`},
		{name: "form", path: one, headers: "Content-Type: application/x-www-form-urlencoded", body: `identity.identifier=ada&trait_key=city&trait_value=Oslo`, status: 200, contains: `={"identity":{"identifier":"ada"},"trait_key":"city","trait_value":"Oslo"}`},
		{name: "all are stored", path: "/api/v1/identities/?identifier=ada", status: 200, contains: `"trait_key":"city","trait_value":"Oslo","transient":false},{"id":null,"trait_key":"plan","trait_value":"pro","transient":false},{"id":null,"trait_key":"visits","trait_value":4,`},
		{path: one, body: `{}`, status: 400, contains: `={"identity":` + required + `,"trait_key":` + required + `,"trait_value":` + required + `}`},
		{path: one, body: `{"identity":{},"trait_key":"k","trait_value":1}`, status: 400, contains: `={"identity":{"identifier":` + required + `}}`},
		{path: one, body: `{"identity":"ada","trait_key":"k","trait_value":1}`, status: 400, contains: `={"identity":{"non_field_errors":["Invalid data. Expected a dictionary, but got str."]}}`},
		{path: one, body: `{"identity":{"identifier":" "},"trait_key":"\t","trait_value":1}`, status: 400, contains: `={"identity":{"identifier":["This field may not be blank."]},"trait_key":["This field may not be blank."]}`},
		{path: one, body: `[`, status: 400, contains: `JSON parse error`},

		{method: "PUT", path: bulk, body: `[{"identity":{"identifier":"bob"},"trait_key":"a","trait_value":1},{"identity":{"identifier":"ada"},"trait_key":"plan","trait_value":null},{"identity":{"identifier":"bob"},"trait_key":"b","trait_value":2.5}]`,
			status: 200, contains: `=[{"identity":{"identifier":"bob"},"trait_key":"a","trait_value":1},{"identity":{"identifier":"bob"},"trait_key":"b","trait_value":2.5}]`},
		{name: "null has deleted", path: "/api/v1/identities/?identifier=ada", status: 200, lacks: `"plan"`},
		{name: "several were set", path: "/api/v1/identities/?identifier=bob", status: 200, contains: `"trait_key":"a","trait_value":1,"transient":false},{"id":null,"trait_key":"b","trait_value":2.5,`},
		{method: "PUT", path: bulk, body: `[]`, status: 200, contains: `=[]`},
		{method: "PUT", path: bulk, body: `{"a":1}`, status: 400, contains: `={"detail":"Invalid request data"}`},
		{method: "PUT", path: bulk, body: `[{}]`, status: 400, contains: `=[{"identity":` + required + `,"trait_key":` + required + `,"trait_value":` + required + `}]`},
		{method: "PUT", path: bulk, body: `{"a":`, status: 400, contains: `JSON parse error`},
		{name: "too many of one identity", method: "PUT", path: bulk, body: "[" + strings.Join(bulkTraits(201), ",") + "]", status: 400, contains: `{"detail":"An identity has no more than 200 traits."}`},

		{path: increment, body: `{"trait_key":"visits","increment_by":3,"identifier":"ada"}`, status: 200, contains: `={"trait_key":"visits","trait_value":7,"identifier":"ada"}`},
		{path: increment, body: `{"trait_key":"new","increment_by":"-2","identifier":"ada"}`, status: 200, contains: `={"trait_key":"new","trait_value":-2,"identifier":"ada"}`},
		{path: increment, body: `{"trait_key":"visits","increment_by":0,"identifier":"ada"}`, status: 200, contains: `"trait_value":7`},
		{path: increment, body: `{"trait_key":"city","increment_by":1,"identifier":"ada"}`, status: 400, contains: `=["Trait is not an integer."]`},
		{path: increment, body: `{"trait_key":"visits","increment_by":9223372036854775807,"identifier":"ada"}`, status: 400, contains: `=["The sum would not fit into 64 bits."]`},
		{path: increment, body: `{"trait_key":"visits","increment_by":1.5,"identifier":""}`, status: 400, contains: `={"identifier":["This field may not be blank."],"increment_by":["A valid integer is required."]}`},
		{path: increment, body: `{}`, status: 400, contains: `={"identifier":` + required + `,"increment_by":` + required + `,"trait_key":` + required + `}`},
		{path: increment, body: `7`, status: 400, contains: `={"non_field_errors":["Invalid data. Expected a dictionary, but got int."]}`},
	})
}

func bulkTraits(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf(`{"identity":{"identifier":"many"},"trait_key":"k%d","trait_value":1}`, i)
	}
	return all
}

// Increments at the same time all count.
func TestSDKIncrementTogether(t *testing.T) {
	f := newSDKFixture(t, sdkShop()...)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			w := f.serve(t, sdkCase{method: "POST", path: "/api/v1/traits/increment-value", body: `{"trait_key":"n","increment_by":2,"identifier":"ada"}`})
			if w.Code != http.StatusOK {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
	all.Wait()
	if got := f.persons.Get(sdkProduction, "ada").Traits[0].Value; got != evaluation.Int(100) {
		t.Errorf("the sum is %v", got)
	}
}
