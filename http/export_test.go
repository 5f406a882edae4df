package httpapi

import "github.com/prometheus/client_golang/prometheus"

// Routes are the method and path of each route there is, for tests from outside.
func Routes() (all [][2]string) {
	for _, r := range New(Config{Metrics: prometheus.NewRegistry()}).echo.Routes() {
		all = append(all, [2]string{r.Method, r.Path})
	}
	return all
}
