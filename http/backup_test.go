package httpapi

import (
	"net/http/httptest"
	"testing"
	"time"
)

// A deadlined is an answer that counts what is written without a new deadline.
type deadlined struct {
	*httptest.ResponseRecorder
	set                bool
	writes, unextended int
}

func (d *deadlined) SetWriteDeadline(time.Time) error {
	d.set = true
	return nil
}

func (d *deadlined) Write(b []byte) (int, error) {
	if d.writes++; !d.set {
		d.unextended++
	}
	d.set = false
	return d.ResponseRecorder.Write(b)
}

// An export may take as long as its reader takes, who need only go on reading.
func TestExportsArePatient(t *testing.T) {
	w := newWatch(t)
	w.server.Transparency = newWalkLog(t, w.views)
	for _, path := range []string{"/admin/v1/log/export", "/admin/v1/audit/export", "/admin/v1/audit/export?format=csv", "/admin/v1/audit/export?format=cloudevents"} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", path, nil)
		r.Header.Set("Authorization", "Bearer "+w.secrets["root"])
		answer := &deadlined{ResponseRecorder: httptest.NewRecorder()}
		w.server.ServeHTTP(answer, r)
		if answer.Code != 200 || answer.writes == 0 || answer.unextended > 0 {
			t.Errorf("%s: %d; of %d writes %d have the deadline of one before", path, answer.Code, answer.writes, answer.unextended)
		}
	}
}
