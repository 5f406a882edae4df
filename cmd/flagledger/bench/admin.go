package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// admin uses the administration of a server.
type admin struct{ address string }

// send makes a request and reads what it is answered into the value, if there is one.
func (a admin) send(ctx context.Context, method, path string, headers http.Header, body, into any) (http.Header, error) {
	var content io.Reader
	if body != nil {
		content = strings.NewReader(text(body))
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://"+a.address+path, content)
	if err != nil {
		return nil, err
	}
	maps.Copy(request.Header, headers)
	request.Header.Set("Authorization", "Bearer "+adminToken)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if response.StatusCode/100 != 2 {
		return nil, fmt.Errorf("%s %s: %s: %.500s", method, path, response.Status, answer)
	}
	if into != nil {
		if err := json.Unmarshal(answer, into); err != nil {
			return nil, fmt.Errorf("%s %s: %w", method, path, err)
		}
	}
	return response.Header, nil
}

// change applies commands to a project as one commit.
func (a admin) change(ctx context.Context, project string, commands []any) error {
	_, err := a.send(ctx, http.MethodPost, "/admin/v1/projects/"+project+"/changes", nil, object{"commands": commands, "reason": "bench"}, nil)
	return err
}

// create makes the project of a workload, by one change, and tells how long that took.
func (a admin) create(ctx context.Context, w workload) (time.Duration, error) {
	if _, err := a.send(ctx, http.MethodPost, "/admin/v1/projects", nil, object{"key": w.project, "name": w.project, "reason": "bench"}, nil); err != nil {
		return 0, err
	}
	commands := w.commands()
	begin := time.Now()
	if err := a.change(ctx, w.project, commands); err != nil {
		return 0, fmt.Errorf("%d commands: %w", len(commands), err)
	}
	return time.Since(begin), nil
}

// serverKey makes a server key of the workload's environment.
func (a admin) serverKey(ctx context.Context, w workload) (string, error) {
	var made struct{ Key string }
	_, err := a.send(ctx, http.MethodPost, "/admin/v1/projects/"+w.project+"/environments/"+environment+"/keys", nil,
		object{"name": "bench", "kind": "server", "reason": "bench"}, &made)
	return made.Key, err
}

// metric reads one number of the server's metrics.
func (a admin) metric(ctx context.Context, name string) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+a.address+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	all, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	for lines := bufio.NewScanner(bytes.NewReader(all)); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("the server has no metric %s", name)
}

// saved waits until the server has stored what it knows of identities, and tells
// how many records that were since its start.
func (a admin) saved(ctx context.Context) (records float64, err error) {
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		unsaved, err := a.metric(ctx, "flagledger_identities_unsaved")
		if err != nil {
			return 0, err
		}
		if unsaved == 0 {
			break
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return 0, fmt.Errorf("%v identities are unsaved: %w", unsaved, ctx.Err())
		}
	}
	if dropped, err := a.metric(ctx, "flagledger_identities_dropped_total"); err != nil || dropped > 0 {
		return 0, fmt.Errorf("%v changes of identities were dropped (%w)", dropped, err)
	}
	return a.metric(ctx, "flagledger_identities_saved_total")
}

// load stores the identities of a workload, and overrides of the first ones. It
// lets the server catch up now and then, which would drop what is too much.
func (a admin) load(ctx context.Context, w workload, overrides int) error {
	const bulk, batch = 100, 50_000
	for first := 0; first < w.identities; first += batch {
		last := min(first+batch, w.identities)
		l := load{address: a.address, connections: 4, total: (last - first + bulk - 1) / bulk, status: http.StatusOK, request: func(b []byte, n int) []byte {
			list := make([]any, 0, bulk)
			for i := first + n*bulk; i < min(first+(n+1)*bulk, last); i++ {
				list = append(list, identity(i))
			}
			return append(b, message("POST", "/api/v1/bulk-identities/", w.headers(), text(object{"data": list}))...)
		}}
		if _, err := l.run(ctx); err != nil {
			return fmt.Errorf("load identities: %w", err)
		}
		if _, err := a.saved(ctx); err != nil {
			return fmt.Errorf("load identities: %w", err)
		}
	}
	const commands = 5000
	for first := 0; first < overrides; first += commands {
		var list []any
		for i := first; i < min(first+commands, overrides); i++ {
			list = append(list, override(i))
		}
		if err := a.change(ctx, w.project, list); err != nil {
			return fmt.Errorf("load overrides: %w", err)
		}
	}
	return nil
}
