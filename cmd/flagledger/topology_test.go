//go:build e2e

package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"flagledger/eventstore/storetest"
)

// TestE2ETopology runs docker-compose.yml as processes: three NATS nodes, two replicas and the load balancer, with the configurations of that
// file in which only addresses and folders are replaced. Then one part after the other is taken away.
func TestE2ETopology(t *testing.T) {
	haproxy, err := exec.LookPath("haproxy")
	if err != nil && os.Getenv("CI") == "" {
		t.Skip("haproxy is not installed")
	} else if err != nil {
		t.Fatal(err)
	}
	file := readCompose(t)
	dir := t.TempDir()

	// Every address of the compose file gets one of this machine.
	var addresses []string
	monitor, client := map[string]string{}, map[string]string{}
	for _, node := range natsNodes {
		client[node], monitor[node] = storetest.FreeAddress(t), storetest.FreeAddress(t)
		addresses = append(addresses, node+":4222", client[node], node+":6222", storetest.FreeAddress(t))
	}
	url := map[string]string{}
	for _, replica := range replicas {
		address := storetest.FreeAddress(t)
		url[replica] = "http://" + address
		addresses = append(addresses, replica+":8000", address)
	}
	public := storetest.FreeAddress(t)
	local := strings.NewReplacer(append(addresses, "0.0.0.0:8000", public)...)

	// The configuration's own listeners are given by node, since all nodes share the text.
	natsServer := buildPackage(t, "github.com/nats-io/nats-server/v2", "nats-server")
	nats := map[string]*exec.Cmd{}
	for _, node := range natsNodes {
		config := filepath.Join(dir, node+".conf")
		write(t, config, local.Replace(strings.NewReplacer(
			"0.0.0.0:4222", client[node], "0.0.0.0:8222", monitor[node], "0.0.0.0:6222", local.Replace(node+":6222"),
			`"/data"`, fmt.Sprintf("%q", filepath.Join(dir, node)),
		).Replace(file.Configs["nats"].Content)))
		nats[node] = start(t, natsServer, "--config", config, "--name", node)
	}
	for _, node := range natsNodes {
		await(t, "http://"+monitor[node]+"/healthz?js-meta-only=true", http.StatusOK)
	}

	binary := build(t)
	processes := map[string]*exec.Cmd{}
	runReplica := func(name string) {
		environment := file.Services[name].Environment
		processes[name] = serve(t, binary, url[name], "--data-dir", filepath.Join(dir, name),
			"--nats-url", local.Replace(environment["FLAGLEDGER_NATS_URL"]), "--replicas", environment["FLAGLEDGER_REPLICAS"])
	}
	for _, name := range replicas {
		runReplica(name)
	}

	config := filepath.Join(dir, "haproxy.cfg")
	write(t, config, local.Replace(file.Configs["haproxy"].Content))
	proxy := start(t, haproxy, "-db", "-f", config)
	t.Cleanup(func() { kill(t, proxy) }) // it knows no clean end by an interrupt
	balancer := "http://" + public
	await(t, balancer+"/balancer-health", http.StatusOK)
	await(t, balancer+"/readyz", http.StatusOK)

	admin := &api{url: balancer, token: adminToken}
	admin.do(t, "POST", "/admin/v1/projects", `{"key":"e2e","name":"Topology"}`, nil)
	admin.do(t, "POST", "/admin/v1/projects/e2e/environments", `{"key":"test","name":"Test"}`, nil)
	admin.do(t, "POST", "/admin/v1/projects/e2e/features", `{"key":"checkout","initial_value":"0","default_enabled":true}`, nil)
	const env = "/admin/v1/projects/e2e/environments/test"
	var environment struct {
		ClientKey string `json:"client_key"`
	}
	admin.do(t, "GET", env, "", &environment)

	// A change goes in at the balancer, whichever replica takes it, and is at once what both replicas serve for that position.
	changes := 0
	change := func() {
		t.Helper()
		changes++
		position := admin.do(t, "PATCH", env+"/features/checkout", fmt.Sprintf(`{"value":"%d"}`, changes), nil).Get("Flagledger-Position")
		for name, process := range processes {
			if process.ProcessState == nil {
				if got, want := checkout(t, url[name], environment.ClientKey, position), fmt.Sprint(changes); got != want {
					t.Errorf("%s serves checkout %q at position %s, want %q", name, got, position, want)
				}
			}
		}
	}
	for range 10 {
		change()
	}

	t.Log("one replica is lost")
	kill(t, processes[replicas[0]])
	awaitDo(t, func() error { return evaluates(balancer, environment.ClientKey, changes) })
	for range 5 {
		change()
	}

	t.Log("it comes back, and has what it missed")
	runReplica(replicas[0])
	if got, want := checkout(t, url[replicas[0]], environment.ClientKey, ""), fmt.Sprint(changes); got != want {
		t.Errorf("%s is ready and serves checkout %q, want %q", replicas[0], got, want)
	}
	change()

	t.Log("one NATS node is lost")
	kill(t, nats[natsNodes[0]])
	awaitDo(t, func() error { // a leader may have to be elected
		status, _, answer, err := admin.try(t.Context(), "PATCH", env+"/features/checkout", `{"value":"elected"}`)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%d %s", status, answer)
		}
		return err
	})
	for range 5 {
		change()
	}

	t.Log("two NATS nodes are lost: nothing is written, everything is evaluated")
	kill(t, nats[natsNodes[1]])
	for _, name := range replicas {
		await(t, url[name]+"/readyz", http.StatusServiceUnavailable)
	}
	awaitDo(t, func() error { return evaluates(balancer, environment.ClientKey, changes) })
	status, header, answer, err := admin.try(t.Context(), "PATCH", env+"/features/checkout", `{"value":"lost"}`)
	if err != nil || status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" {
		t.Errorf("a write answers %d %s, Retry-After %q, error %v; want 503 with Retry-After", status, answer, header.Get("Retry-After"), err)
	}
	awaitDo(t, func() error { return evaluates(balancer, environment.ClientKey, changes) })
}

// checkout is the value the replica serves for the feature once it has reached the position. Who reads from a NATS node that is lost needs a
// moment to find another one; until then the answer is 503.
func checkout(t *testing.T, url, key, position string) (value string) {
	t.Helper()
	awaitDo(t, func() (err error) {
		value, err = flag(t.Context(), url, key, position)
		return err
	})
	return value
}

// evaluates is nil when the value of the last change is served.
func evaluates(url, key string, change int) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	value, err := flag(ctx, url, key, "")
	if err == nil && value != fmt.Sprint(change) {
		err = fmt.Errorf("checkout is %q, want %d", value, change)
	}
	return err
}

func flag(ctx context.Context, url, key, position string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/api/v1/flags/?feature=checkout", nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("X-Environment-Key", key)
	if position != "" {
		req.Header.Set("Flagledger-Min-Position", position)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	var state struct {
		Value string `json:"feature_state_value"`
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("flags: %s %s", resp.Status, answer)
	}
	if err := json.Unmarshal(answer, &state); err != nil {
		return "", fmt.Errorf("decode flag %s: %w", answer, err)
	}
	return state.Value, nil
}

// awaitDo repeats what may fail while the parts find each other again, for at most a minute.
func awaitDo(t *testing.T, do func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		err := do()
		if err == nil {
			return
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("not within a minute: %v", err)
		}
	}
}

// kill ends a process as a lost machine does: without a word.
func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // "signal: killed" is what was asked for
}
