package httpapi

import (
	"encoding/base64"
	"strconv"

	"flagledger/domain"
)

// The sizes of a page.
const (
	defaultLimit = 50
	maxLimit     = 500
)

// page is one page of a list. Next is the cursor of the page that follows,
// absent on the last.
type page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"`
}

// limit is the page size that the request asks for.
func (r *request) limit() (int, error) {
	asked := r.QueryParam("limit")
	if asked == "" {
		return defaultLimit, nil
	}
	n, err := strconv.Atoi(asked)
	if err != nil || n < 1 || n > maxLimit {
		return 0, domain.RefuseField(domain.Malformed, "limit", "%q is not a number from 1 to %d", asked, maxLimit)
	}
	return n, nil
}

// cursor is what stood at the end of the page before, "" for the first page.
func (r *request) cursor() (string, error) {
	asked := r.QueryParam("cursor")
	plain, err := base64.RawURLEncoding.DecodeString(asked)
	if err != nil {
		return "", domain.RefuseField(domain.Malformed, "cursor", "%q is not a cursor of this server", asked)
	}
	return string(plain), nil
}

func cursorOf(last string) string { return base64.RawURLEncoding.EncodeToString([]byte(last)) }

// listOf makes the page of a map's values that the request asks for. Values
// that show turns down are left out.
func listOf[V, T any](r *request, m domain.Map[V], show func(key string, v V) (T, bool)) (page[T], error) {
	p := page[T]{Items: []T{}}
	limit, err := r.limit()
	if err != nil {
		return p, err
	}
	after, err := r.cursor()
	if err != nil {
		return p, err
	}
	last := ""
	for key, v := range m.From(after) {
		if key == after && after != "" {
			continue
		}
		item, ok := show(key, v)
		if !ok {
			continue
		}
		if len(p.Items) == limit {
			p.Next = cursorOf(last)
			break
		}
		p.Items = append(p.Items, item)
		last = key
	}
	return p, nil
}
