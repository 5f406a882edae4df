package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"gopkg.in/yaml.v3"
)

// compose is what the tests read of docker-compose.yml.
type compose struct {
	Services map[string]struct {
		Image       string
		Build       struct{ Context string }
		Command     []string
		Environment map[string]string
		DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
		Networks    []string
		Ports       []string
		Volumes     []string
		Configs     []struct{ Source, Target string }
		Healthcheck struct{ Test []string }
		Restart     string
	}
	Configs  map[string]struct{ Content string }
	Networks map[string]struct{ Internal bool }
	Volumes  map[string]any
}

func readCompose(t *testing.T) compose {
	t.Helper()
	data, err := os.ReadFile("../../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file compose
	if err := yaml.Unmarshal(data, &file); err != nil {
		t.Fatalf("parse docker-compose.yml: %v", err)
	}
	return file
}

var (
	natsNodes = []string{"nats-1", "nats-2", "nats-3"}
	replicas  = []string{"flagledger-1", "flagledger-2"}
)

// pinned is an image with a full version: the same file gives the same programs next year.
var pinned = regexp.MustCompile(`^[a-z]+:\d+\.\d+\.\d+(-[a-z]+)?$`)

func TestCompose(t *testing.T) {
	file := readCompose(t)
	if got, want := len(file.Services), len(natsNodes)+len(replicas)+1; got != want {
		t.Errorf("%d services, want %d: three NATS nodes, two replicas, one load balancer", got, want)
	}
	for name, service := range file.Services {
		if service.Restart == "" {
			t.Errorf("%s: no restart policy", name)
		}
		if service.Build.Context == "" {
			if !pinned.MatchString(service.Image) {
				t.Errorf("%s: image %q is not pinned to a full version", name, service.Image)
			}
			if len(service.Healthcheck.Test) == 0 {
				t.Errorf("%s: no health check", name)
			}
		}
		if name != "balancer" && len(service.Ports) != 0 {
			t.Errorf("%s publishes %v: only the load balancer is reached from outside", name, service.Ports)
		}
		for _, volume := range service.Volumes {
			source, _, _ := strings.Cut(volume, ":")
			if _, ok := file.Volumes[source]; !ok {
				t.Errorf("%s: volume %q is not declared", name, source)
			}
		}
		for _, config := range service.Configs {
			if _, ok := file.Configs[config.Source]; !ok {
				t.Errorf("%s: config %q is not declared", name, config.Source)
			}
		}
		for other, condition := range service.DependsOn {
			if _, ok := file.Services[other]; !ok || condition.Condition != "service_healthy" {
				t.Errorf("%s: depends on %s with condition %q", name, other, condition.Condition)
			}
		}
	}

	used := map[string]string{} // volume -> service: nothing is shared but the log
	var urls []string
	for _, name := range natsNodes {
		node := file.Services[name]
		urls = append(urls, "nats://"+name+":4222")
		if want := "nats:" + server.VERSION + "-alpine"; node.Image != want {
			t.Errorf("%s: image %q, want the version of the embedded server, %q", name, node.Image, want)
		}
		if len(node.Configs) != 1 || !slices.Equal(node.Command, []string{"--config", node.Configs[0].Target, "--name", name}) {
			t.Errorf("%s: command %q does not start its configuration under its own name", name, node.Command)
		}
		for _, network := range node.Networks {
			if !file.Networks[network].Internal {
				t.Errorf("%s: network %q reaches outside; NATS takes every connection", name, network)
			}
		}
	}
	for _, name := range replicas {
		environment := file.Services[name].Environment
		if got, want := environment["FLAGLEDGER_NATS_URL"], strings.Join(urls, ","); got != want {
			t.Errorf("%s: FLAGLEDGER_NATS_URL %q, want %q", name, got, want)
		}
		if got := environment["FLAGLEDGER_REPLICAS"]; got != "3" {
			t.Errorf("%s: FLAGLEDGER_REPLICAS %q, want 3", name, got)
		}
	}
	for _, name := range slices.Concat(natsNodes, replicas) {
		volumes := file.Services[name].Volumes
		if len(volumes) != 1 || !strings.HasSuffix(volumes[0], ":/data") || used[volumes[0]] != "" {
			t.Errorf("%s: volumes %v, want one of its own at /data", name, volumes)
			continue
		}
		used[volumes[0]] = name
	}
}

func TestComposeNATS(t *testing.T) {
	config := filepath.Join(t.TempDir(), "nats.conf")
	write(t, config, readCompose(t).Configs["nats"].Content)
	options, err := server.ProcessConfigFile(config)
	if err != nil {
		t.Fatalf("the NATS configuration: %v", err)
	}
	if !options.JetStream || !options.SyncAlways || options.StoreDir != "/data" {
		t.Errorf("JetStream %v, sync always %v, store %q; want true, true, /data", options.JetStream, options.SyncAlways, options.StoreDir)
	}
	if options.MaxPayload != 8<<20 {
		t.Errorf("max_payload %d, want %d as the embedded server has", options.MaxPayload, 8<<20)
	}
	if len(options.Routes) != len(natsNodes) {
		t.Fatalf("routes %v, want one for each of %v", options.Routes, natsNodes)
	}
	for i, route := range options.Routes {
		if route.Host != natsNodes[i]+":6222" {
			t.Errorf("route %d is %s, want %s:6222", i, route.Host, natsNodes[i])
		}
	}
}

// HAProxy is asked itself when it is installed; the continuous integration installs it.
func TestComposeHAProxy(t *testing.T) {
	content := readCompose(t).Configs["haproxy"].Content
	for _, name := range replicas {
		if strings.Count(content, "server "+name+" "+name+":8000") != 2 {
			t.Errorf("%s does not stand in both backends", name)
		}
	}
	haproxy, err := exec.LookPath("haproxy")
	if err != nil {
		t.Skip("haproxy is not installed: its configuration is not parsed")
	}
	config := filepath.Join(t.TempDir(), "haproxy.cfg")
	write(t, config, content)
	if out, err := exec.CommandContext(t.Context(), haproxy, "-c", "-f", config).CombinedOutput(); err != nil {
		t.Errorf("haproxy -c: %v\n%s", err, out)
	}
}

func TestDockerfile(t *testing.T) {
	data, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	dockerfile := string(data)
	for _, line := range []string{"CGO_ENABLED=0 go build", "\nUSER 65532:65532\n", "\nVOLUME /data\n", "\nHEALTHCHECK ", `CMD ["/flagledger", "health"]`} {
		if !strings.Contains(dockerfile, line) {
			t.Errorf("no %q", line)
		}
	}
	for _, from := range regexp.MustCompile(`(?m)^FROM (\S+)`).FindAllStringSubmatch(dockerfile, -1) {
		if image := from[1]; image != "scratch" && !pinned.MatchString(image) {
			t.Errorf("image %q is not pinned to a full version", image)
		}
	}
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
