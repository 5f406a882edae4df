package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"flagledger/domain"
)

// TestScale measures the program over a long history, through HTTP, and prints one table. Without SCALE_COMMITS (see make bench-scale) the history is short
// and each thing is done a few times: then it shows only that all of it works. It fails where an answer is wrong, never because one is late.
func TestScale(t *testing.T) {
	commits, environments, often := 1000, 5, 3
	cache, work := t.TempDir(), t.TempDir()
	if asked := os.Getenv("SCALE_COMMITS"); asked != "" {
		n, err := strconv.Atoi(asked)
		if err != nil || n < 1000 {
			t.Fatalf("SCALE_COMMITS=%q: want a number of at least 1000", asked)
		}
		commits, environments, often = n, 50, 200
		if cache = os.Getenv("BENCH_DIR"); cache == "" {
			cache = filepath.Join(os.TempDir(), "flagledger-bench")
		}
		work = filepath.Join(cache, "work")
		removeAll(t, work) // what an interrupted run left
		t.Cleanup(func() { removeAll(t, work) })
	}
	if err := os.CopyFS(work, os.DirFS(madeLog(t, cache, environments, commits))); err != nil {
		t.Fatal(err)
	}
	s := &scale{T: t, dir: work, commits: commits, environments: environments, often: often, random: rand.New(rand.NewPCG(1, 2)), actors: newHistory(environments).actors}
	s.rebuild()
	s.start()
	s.past()
	s.rollback()
	s.growth()
	s.changes()
	s.stop()
	found := fmt.Sprintf("%s, %d processors, %s; %d commits, %d environments x %d features, %d segments; the disk is measured just before each row it belongs to.\n\n%s",
		time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), runtime.Version(), commits, environments, madeFeatures, madeSegments, s.table.String())
	t.Log(found)
	if file := os.Getenv("SCALE_TABLE"); file != "" {
		if err := os.WriteFile(file, []byte(found), 0o644); err != nil {
			t.Error(err)
		}
	}
}

func removeAll(t *testing.T, dir string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
}

// madeLog is a directory with the log of the first commits of the made-up history. It is made once: its name tells what is in it.
func madeLog(t *testing.T, cache string, environments, commits int) string {
	t.Helper()
	h := sha256.New()
	for c := range newHistory(environments).commits(1000) { // another generator makes others of these
		if err := json.NewEncoder(h).Encode(c); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(cache, fmt.Sprintf("log-%d-%.4x", commits, h.Sum(nil)))
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	begin := time.Now()
	removeAll(t, dir+".part")
	writeLog(t, dir+".part", newHistory(environments).commits(commits))
	if err := os.Rename(dir+".part", dir); err != nil {
		t.Fatal(err)
	}
	t.Logf("made a log of %d commits in %.0f s: %s", commits, time.Since(begin).Seconds(), dir)
	return dir
}

// A scale measures one run.
type scale struct {
	*testing.T
	dir                          string
	commits, environments, often int
	actors                       []domain.Actor
	random                       *rand.Rand
	p                            *program
	table                        strings.Builder
}

// stop ends the server, however long it takes.
func (s *scale) stop() {
	s.Helper()
	if err := s.p.cmd.Process.Signal(os.Interrupt); err != nil {
		s.Fatal(err)
	}
	if <-s.p.exited; s.p.err != nil {
		s.Errorf("the program ended with %v", s.p.err)
	}
}

// row adds a line to the table.
func (s *scale) row(what, target, format string, args ...any) {
	if s.table.Len() == 0 {
		s.table.WriteString("| What | Measured | Target |\n|---|---|---|\n")
	}
	fmt.Fprintf(&s.table, "| %s | %s | %s |\n", what, fmt.Sprintf(format, args...), target)
	s.Log(what, fmt.Sprintf(format, args...))
}

// latencies are how long the same thing took, in order.
type latencies []time.Duration

func (l latencies) at(share float64) time.Duration { return l[int(share*float64(len(l)-1))] }

// rate is how many there are in a second.
func (l latencies) rate() float64 {
	var sum time.Duration
	for _, d := range l {
		sum += d
	}
	return float64(len(l)) / sum.Seconds()
}

func (l latencies) String() string {
	ms := func(d time.Duration) string { return strconv.FormatFloat(float64(d.Microseconds())/1000, 'f', 2, 64) }
	return fmt.Sprintf("p50 %s ms, p99 %s ms (n = %d)", ms(l.at(0.5)), ms(l.at(0.99)), len(l))
}

// repeat does something n times, one after the other.
func repeat(n int, do func()) latencies {
	var l latencies
	for range n {
		begin := time.Now()
		do()
		l = append(l, time.Since(begin))
	}
	slices.Sort(l)
	return l
}

// syncing measures the disk: a page at the end of a file, synced.
func syncing(t *testing.T, dir string, often int) latencies {
	t.Helper()
	f, err := os.CreateTemp(dir, "sync")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(f.Close(), os.Remove(f.Name())); err != nil {
			t.Error(err)
		}
	}()
	page := make([]byte, 4096)
	return repeat(5*often, func() {
		_, err := f.Write(page)
		if err := errors.Join(err, f.Sync()); err != nil {
			t.Fatal(err)
		}
	})
}

// launch starts the server and waits until it is ready, however long it takes. It returns how long, and how much memory the process had at most: in
// all, and without the pages of files, which the system takes back when it needs them.
func (s *scale) launch() (took time.Duration, all, own int) {
	s.Helper()
	begin := time.Now()
	s.p = launch(s.T, []string{"FLAGLEDGER_ADMIN_TOKEN=" + rootToken}, "serve", "--listen", "127.0.0.1:0", "--data-dir", s.dir, "--admin-rate", "0")
	listening := regexp.MustCompile(`msg=listening address=(\S+)`)
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		now, anonymous := memory(s.p.cmd.Process.Pid)
		all, own = max(all, now), max(own, anonymous)
		if found := listening.FindStringSubmatch(s.p.stderr.String()); found != nil {
			s.p.url = "http://" + found[1]
			if a := s.p.send(s.Context(), request{path: "/readyz"}); a.err == nil && a.status == http.StatusOK {
				return time.Since(begin), all, own
			}
		}
		select {
		case <-again.C:
		case <-s.p.exited:
			s.Fatalf("the program has ended: %v", s.p.err)
		}
	}
}

var memoryLines = regexp.MustCompile(`(?m)^(VmHWM|RssAnon):\s*(\d+) kB$`)

// memory tells how much a process has had at most, and how much of its own it has, in MiB; nothing where the system does not say.
func memory(pid int) (peak, own int) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0
	}
	for _, line := range memoryLines.FindAllStringSubmatch(string(status), -1) {
		n, _ := strconv.Atoi(line[2])
		if line[1] == "VmHWM" {
			peak = n >> 10
		} else {
			own = n >> 10
		}
	}
	return peak, own
}

// rebuild makes the views from the log.
func (s *scale) rebuild() {
	took, all, own := s.launch()
	if at := s.p.position(); at != uint64(s.commits)+1 { // and the first token
		s.Fatalf("the views are at position %d, want %d", at, s.commits+1)
	}
	s.row("rebuild of all views from the log", "10,000/s", "%.0f commits/s", float64(s.commits)/took.Seconds())
	s.row("... until ready", "<= 120 s for 1,000,000", "%.1f s", took.Seconds())
	info, err := os.Stat(filepath.Join(s.dir, "views.db"))
	if err != nil {
		s.Fatal(err)
	}
	s.row("... memory at most", "bounded", "%d MiB of its own, %d MiB with pages of files; views.db has %d MiB", own, all, info.Size()>>20)
	s.stop()
}

// start starts on the views that are there.
func (s *scale) start() {
	var starts latencies
	for i := range min(s.often, 5) {
		if i > 0 {
			s.stop()
		}
		took, _, _ := s.launch()
		starts = append(starts, took)
	}
	slices.Sort(starts)
	_, own := memory(s.p.cmd.Process.Pid)
	s.row("start with views present, until ready", "<= 2 s", "%s; %d MiB of its own", starts, own)
}

// get measures a read of something that a function names anew each time.
func (s *scale) get(path func() string) latencies {
	return repeat(s.often, func() { s.p.do(request{path: path()}, nil) })
}

const made = "/admin/v1/projects/shop"

// past reads states and the audit.
func (s *scale) past() {
	newest := map[string]int{}
	for i := range s.environments {
		newest[madeEnvironment(i)] = s.version(madeEnvironment(i))
	}
	anyVersion := func(env string) int { return 1 + s.random.IntN(newest[env]) }
	state := func(env string) string {
		return fmt.Sprintf("%s/environments/%s/versions/%d", made, env, anyVersion(env))
	}
	s.row("state of production at any version", "p50 < 50 ms", "%s", s.get(func() string { return state("production") }))
	s.row("state of any environment at any version", "p50 < 50 ms", "%s", s.get(func() string { return state(madeEnvironment(s.random.IntN(s.environments))) }))
	s.row("difference of two versions of production", "", "%s", s.get(func() string {
		return fmt.Sprintf("%s/environments/production/diff?from=%d&to=%d", made, anyVersion("production"), anyVersion("production"))
	}))

	actors := s.actors
	one := func(n int) int { return s.random.IntN(n) }
	for _, q := range []struct {
		name  string
		query func() string
	}{
		{"newest", func() string { return "" }},
		{"project, from anywhere on", func() string { return "&project=shop&cursor=" + s.cursor() }},
		{"actor", func() string { return "&actor=" + actors[one(len(actors))].ID }},
		{"feature", func() string { return "&project=shop&object=feature:" + madeFeature(one(madeFeatures)) }},
		{"segment", func() string { return "&project=shop&object=segment:" + madeSegment(one(madeSegments)) }},
		{"all features, from anywhere on", func() string { return "&project=shop&object=feature:*&cursor=" + s.cursor() }},
		{"all states of an environment, by an actor", func() string {
			return "&project=shop&object=state:" + madeEnvironment(one(s.environments)) + "/*&actor=" + actors[one(len(actors))].ID
		}},
		{"all pins", func() string { return "&project=shop&object=segment_pin:*" }},
		{"environment, actor, type", func() string {
			return "&project=shop&type=segment_override.set.v1&environment=" + madeEnvironment(one(s.environments)) + "&actor=" + actors[one(len(actors))].ID
		}},
		{"affects a feature of production", func() string {
			return "&project=shop&environment=production&affects=feature:" + madeFeature(5*one(madeOverridden))
		}},
		{"ticket", func() string { return fmt.Sprintf("&ticket=SHOP-%d", 1000+one(20_000)) }},
		{"words, frequent", func() string { return "&q=" + madeAreas[one(len(madeAreas))] + "+customers" }},
		{"words, rare", func() string { return fmt.Sprintf("&q=incident+inc%d", one(100)) }},
		{"reason and environment", func() string { return "&project=shop&environment=staging&reason=outage+checkout" }},
		{"words that never meet", func() string { return "&q=inc7+inc9" }},
	} {
		s.row("audit page of 50: "+q.name, "p50 < 20 ms", "%s", s.get(func() string { return "/admin/v1/audit?limit=50" + q.query() }))
	}
}

// cursor is that of a page at a random place of the history.
func (s *scale) cursor() string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.Itoa(60 + s.random.IntN(s.commits-60))))
}

// rollback goes back to any version, and back over a release of 100 flags.
func (s *scale) rollback() {
	const production = made + "/environments/production"
	type plan struct {
		Hash    string `json:"plan_hash"`
		Changes []struct{}
		Version int
	}
	post := func(body string) (p plan) {
		s.p.do(request{path: production + "/rollback", body: body}, &p)
		return p
	}
	objects := 0
	previews := repeat(s.often/4+3, func() {
		objects = max(objects, len(post(fmt.Sprintf(`{"version":%d,"dry_run":true}`, 1+s.random.IntN(s.version("production")))).Changes))
	})
	s.row("rollback of production to any version, preview", "< 500 ms", "%s, of up to %d objects", previews, objects)

	var executions latencies
	for round := range s.often/10 + 3 {
		before := s.version("production")
		var commands []string
		for i := range 100 { // those that have texts
			commands = append(commands, fmt.Sprintf(`{"command":"set_feature_state","environment":"production","feature":%q,"value":"release %d"}`, madeFeature(i/2*6+i%2*2+1), round))
		}
		s.p.do(request{path: made + "/changes", body: fmt.Sprintf(`{"reason":"release","commands":[%s]}`, strings.Join(commands, ","))}, nil)
		look := post(fmt.Sprintf(`{"version":%d,"dry_run":true}`, before))
		var done plan
		executions = append(executions, repeat(1, func() {
			done = post(fmt.Sprintf(`{"version":%d,"plan_hash":%q,"reason":"too early"}`, before, look.Hash))
		})...)
		if was, is := s.digest(before), s.digest(done.Version); len(done.Changes) != 100 || was != is {
			s.Errorf("the rollback changed %d objects, want 100; digest %s, want %s", len(done.Changes), is, was)
		}
	}
	slices.Sort(executions)
	s.row("rollback of 100 objects, execution", "< 1 s", "%s", executions)
}

// version is the newest of an environment.
func (s *scale) version(env string) int {
	var page struct{ Items []struct{ Version int } }
	s.p.do(request{path: made + "/environments/" + env + "/versions?limit=1"}, &page)
	return page.Items[0].Version
}

// digest is that of a version of production.
func (s *scale) digest(version int) string {
	var v struct{ Digest string }
	s.p.do(request{path: fmt.Sprintf("%s/environments/production/versions/%d", made, version)}, &v)
	return v.Digest
}

// growth compares what the same request costs a server whose log has ten commits, one whose project has a hundred times as many environments, and the
// one with the long history.
func (s *scale) growth() {
	begin := func(environments int) *program {
		p := ready(s.T, "--data-dir", s.TempDir())
		s.openGrown(p, environments)
		return p
	}
	s.openGrown(s.p, 1)
	servers := []*program{begin(1), begin(10), begin(100), s.p}
	spent := make([][]time.Duration, len(servers))
	each := max(15*s.often, 100)
	for range 5 {
		for i, p := range servers {
			before := cpu(p)
			for n := range each {
				a := p.send(s.Context(), request{path: "/api/v1/identities/", header: map[string]string{"X-Environment-Key": "grown-client-0"}, body: fmt.Sprintf(
					`{"identifier":"user-%d","traits":[{"trait_key":"country","trait_value":"%s"},{"trait_key":"store","trait_value":"store-%d"},{"trait_key":"email","trait_value":"u%d@cart.example"},{"trait_key":"version","trait_value":"3.%d.0"},{"trait_key":"orders","trait_value":%d}],"transient":true}`,
					n, strings.ToUpper(madePlaces[n%len(madePlaces)]), n%2000, n, n%20, n%500)})
				if a.err != nil || a.status != http.StatusOK {
					s.Fatalf("identity: %d %s %v", a.status, a.body, a.err)
				}
			}
			spent[i] = append(spent[i], (cpu(p)-before)/time.Duration(each))
		}
	}
	for _, p := range servers[:3] {
		p.stop(os.Interrupt)
	}
	median := func(l []time.Duration) float64 {
		return float64(slices.Sorted(slices.Values(l))[len(l)/2].Nanoseconds()) / 1000
	}
	one := median(spent[0])
	s.row("processor of an identity's 100 flags, a new project with 1 environment", "", "%.0f us", one)
	for i, name := range []string{"with 10 environments", "with 100 environments", fmt.Sprintf("beside %d commits", s.commits)} {
		s.row("... "+name, "<= 1.1 x", "%.0f us, %.2f x", median(spent[i+1]), median(spent[i+1])/max(one, 1))
	}
}

// openGrown makes a project of 100 features and 50 segments with some environments.
func (s *scale) openGrown(p *program, environments int) {
	s.Helper()
	h := newHistory(0)
	commands := []any{}
	add := func(c map[string]any) { commands = append(commands, c) }
	for i := range environments {
		add(map[string]any{"command": "create_environment", "key": fmt.Sprintf("env-%d", i), "client_key": fmt.Sprintf("grown-client-%d", i)})
	}
	for i := range 50 {
		add(map[string]any{"command": "create_segment", "key": madeSegment(i), "rules": h.rules()})
	}
	for i := range 100 {
		c := map[string]any{"command": "create_feature", "key": madeFeature(i), "default_enabled": i%2 == 0}
		if i%2 == 1 {
			c["initial_value"] = fmt.Sprintf("the value %d", i)
		}
		add(c)
		if i%5 < 3 {
			add(map[string]any{"command": "set_segment_override", "environment": "env-0", "feature": madeFeature(i), "segment": madeSegment(i % 50), "enabled": i%4 == 0})
		}
	}
	body, err := json.Marshal(map[string]any{"reason": "set up", "commands": commands})
	if err != nil {
		s.Fatal(err)
	}
	p.do(request{path: "/admin/v1/projects", body: `{"key":"grown"}`}, nil)
	p.do(request{path: "/admin/v1/projects/grown/changes", body: string(body)}, nil)
}

// changes records, durably and visibly.
func (s *scale) changes() {
	patch := func(ctx context.Context, project, env, feature string, n int64) {
		a := s.p.send(ctx, request{method: "PATCH", path: fmt.Sprintf("/admin/v1/projects/%s/environments/%s/features/%s", project, env, feature), body: fmt.Sprintf(`{"enabled":%t,"reason":"change %d"}`, n%2 == 0, n)})
		if !a.recorded() {
			s.Errorf("change %d of %s/%s/%s: %d %s %v", n, project, env, feature, a.status, a.body, a.err)
		}
	}
	n := int64(0)
	disk := syncing(s.T, s.dir, s.often)
	alone := repeat(5*s.often, func() {
		n++
		patch(s.Context(), "shop", "production", madeFeature(int(n/2)%madeFeatures), n)
	})
	fsync := disk.at(0.5)
	s.row("the disk, just before: 4 KiB written and synced", "", "%s", disk)
	s.row("a change, acknowledged durably and visible", fmt.Sprintf("p50 <= 3 syncs + 1 ms = %.2f ms, p99 <= 20 ms", (3*fsync+time.Millisecond).Seconds()*1000), "%s", alone)

	projects := []string{"shop"}
	for i := range 7 {
		key := fmt.Sprintf("shop-%d", i+2)
		s.p.do(request{path: "/admin/v1/projects", body: fmt.Sprintf(`{"key":%q}`, key)}, nil)
		s.p.do(request{path: "/admin/v1/projects/" + key + "/environments", body: `{"key":"production"}`}, nil)
		for f := range 20 {
			s.p.do(request{path: "/admin/v1/projects/" + key + "/features", body: fmt.Sprintf(`{"key":%q}`, madeFeature(f))}, nil)
		}
		projects = append(projects, key)
	}
	for _, among := range []int{1, 8} {
		const writers = 16
		disk := syncing(s.T, s.dir, s.often)
		var next atomic.Int64
		var writing sync.WaitGroup
		all := int64(20 * s.often)
		before := cpu(s.p)
		begin := time.Now()
		for w := range writers {
			writing.Go(func() {
				for n := int64(0); next.Add(1) <= all; n++ {
					patch(s.Context(), projects[w%among], "production", madeFeature(w), n)
				}
			})
		}
		writing.Wait()
		took := time.Since(begin)
		disk = append(disk, syncing(s.T, s.dir, s.often)...)
		rate := float64(all) / took.Seconds()
		s.row(fmt.Sprintf("sustained changes, 16 writers, %d projects", among), ">= 0.5 x the disk's syncs", "%.0f/s = %.2f x %.0f/s; %.2f ms of processor each",
			rate, rate/disk.rate(), disk.rate(), (cpu(s.p)-before).Seconds()*1000/float64(all))
	}
}

// cpu is how much processor time the program has used, as it tells itself.
func cpu(p *program) time.Duration {
	p.t.Helper()
	found := regexp.MustCompile(`(?m)^process_cpu_seconds_total (\S+)$`).FindSubmatch(p.do(request{path: "/metrics"}, nil).body)
	if found == nil {
		return 0
	}
	seconds, _ := strconv.ParseFloat(string(found[1]), 64)
	return time.Duration(seconds * float64(time.Second))
}
