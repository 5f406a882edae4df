package main

import (
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// Profiles are served on an address of their own, and nowhere else.
func TestPprof(t *testing.T) {
	p := ready(t, "--data-dir", t.TempDir(), "--pprof", "127.0.0.1:0")
	url := p.awaitStderr(regexp.MustCompile(`msg="serving profiles" url=(\S+)`))
	for _, c := range []struct {
		url    string
		status int
		has    string
	}{
		{url, http.StatusOK, "goroutine"},
		{url + "heap?debug=1", http.StatusOK, "heap profile"},
		{p.url + "/debug/pprof/", http.StatusNotFound, ""},
	} {
		answer, err := http.Get(c.url)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if err != nil || answer.StatusCode != c.status || !strings.Contains(string(body), c.has) {
			t.Errorf("GET %s: %s (%v), want %d and %q in %.200s", c.url, answer.Status, err, c.status, c.has, body)
		}
	}
}

// Whoever is not on this machine has no business with profiles.
func TestPprofIsForThisMachine(t *testing.T) {
	for _, address := range []string{":0", "0.0.0.0:0", "192.0.2.1:6060", "nowhere"} {
		if listener, err := listenPprof(address); err == nil {
			t.Errorf("listens on %s", listener.Addr())
			_ = listener.Close()
		}
	}
}
