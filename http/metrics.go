package httpapi

import (
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
)

// measure is middleware that counts requests and their time, by method, route
// and status. Its errors are those of the handlers, already answered.
func measure(registry *prometheus.Registry) echo.MiddlewareFunc {
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "flagledger_http_request_seconds",
		Help:    "Time from the reading of a request's header to the end of its answer. For event streams, how long they were open.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
	}, []string{"method", "route", "status"})
	registry.MustRegister(seconds)
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			start := time.Now()
			defer func() { // also of an answer that is broken off
				seconds.WithLabelValues(method(c.Request().Method), c.Path(), strconv.Itoa(c.Response().Status)).Observe(time.Since(start).Seconds())
			}()
			if err := next(c); err != nil {
				c.Error(err)
			}
			return nil
		}
	}
}

// method keeps what clients make up out of the labels.
func method(asked string) string {
	switch asked {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
		return asked
	}
	return "other"
}
