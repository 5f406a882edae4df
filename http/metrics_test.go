package httpapi

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

func TestMeasure(t *testing.T) {
	registry := prometheus.NewRegistry()
	e := echo.New()
	e.Use(measure(registry))
	e.GET("/things/:id", func(c echo.Context) error { return c.NoContent(http.StatusNoContent) })
	e.GET("/broken", func(echo.Context) error { return errors.New("broken") })
	for _, request := range []string{"GET /things/1", "GET /things/2", "GET /broken", "GET /nowhere", "BREW /things/1"} {
		method, path, _ := strings.Cut(request, " ")
		e.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(method, path, nil))
	}
	w := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`flagledger_http_request_seconds_count{method="GET",route="/things/:id",status="204"} 2`,
		`flagledger_http_request_seconds_count{method="GET",route="/broken",status="500"} 1`,
		`flagledger_http_request_seconds_count{method="GET",route="",status="404"} 1`,
		`flagledger_http_request_seconds_count{method="other",route="/things/:id",status="405"} 1`,
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("lacks %s", want)
		}
	}
	if t.Failed() {
		t.Log(w.Body)
	}
}
