package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// connections is how many clients there are at once.
const connections = 16

// A bench is one run of the table.
type bench struct {
	options
	dir    string // for data, removed at the end
	table  table
	floor  *process
	server *process // with w1 and w3

	w1, w3, w4 workload // as large as the scale makes them
	key        string   // a server key of w1
	all        []*process
}

// benchHTTP measures what answers over HTTP cost.
func benchHTTP(ctx context.Context, o options, stdout, stderr io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "flagledger-bench-")
	if err != nil {
		return err
	}
	b := &bench{options: o, dir: dir, table: table{out: stderr}, w1: w1, w3: w3, w4: w4}
	for _, w := range []*workload{&b.w1, &b.w3, &b.w4} {
		w.identities = max(100, int(float64(w.identities)*o.scale))
	}
	defer func() {
		for _, p := range b.all {
			err = errors.Join(err, p.stop())
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	if err := b.begin(ctx); err != nil {
		return err
	}
	for _, r := range []struct {
		name    string
		measure func(context.Context) error
	}{
		{"W1", b.identifyW1},
		{"W3", b.identifyW3},
		{"W2", b.evaluateOne},
		{"flags", b.preparedFlags},
		{"document", b.preparedDocument},
		{"W4", b.identifyW4},
		{"traits", b.changedTraits},
		{"change", b.changes},
		{"streams", b.streamsTold},
		{"growth", b.growth},
		{"demo", b.idleDemo},
	} {
		if !b.rows.MatchString(r.name) {
			continue
		}
		if err := r.measure(ctx); err != nil {
			return fmt.Errorf("row %s: %w", r.name, err)
		}
	}
	where := fmt.Sprintf("%s; median of %d rounds of %v, in turns; %d connections\n\n", machine(time.Now()), o.rounds, o.round, connections)
	result := where + b.table.markdown()
	_, err = fmt.Fprint(stdout, result)
	return errors.Join(err, o.put("bench-http", result))
}

// begin starts what most rows need.
func (b *bench) begin(ctx context.Context) (err error) {
	if b.floor, err = startFloor(ctx); err != nil {
		return err
	}
	b.all = append(b.all, b.floor)
	if b.server, err = b.start(ctx, "main"); err != nil {
		return err
	}
	a := admin{b.server.address}
	for _, w := range []workload{b.w1, b.w3} {
		took, err := a.create(ctx, w)
		if err != nil {
			return err
		}
		n := len(w.commands())
		b.table.add(fmt.Sprintf("%s loaded by one change of %s commands", strings.ToUpper(w.project), grouped(n)), short(took), "", "", "within the 10 s of a change")
	}
	b.key, err = a.serverKey(ctx, b.w1)
	return err
}

// start runs a Flagledger with data of its own.
func (b *bench) start(ctx context.Context, data string, args ...string) (*process, error) {
	p, err := startLedger(ctx, b.options, filepath.Join(b.dir, data), args...)
	if err == nil {
		b.all = append(b.all, p)
	}
	return p, err
}

// stop ends a process before the others.
func (b *bench) stop(p *process) error {
	for i := range b.all {
		if b.all[i] == p {
			b.all = append(b.all[:i], b.all[i+1:]...)
			break
		}
	}
	return p.stop()
}

// on is a load of the main server.
func (b *bench) on(messages [][]byte) subject {
	return subject{b.server, load{address: b.server.address, connections: connections, status: http.StatusOK, request: rotating(messages)}}
}

// like is a load of the floor with the same bodies: it answers with as many
// bytes as the server does to the first request.
func (b *bench) like(ctx context.Context, s subject) (subject, error) {
	r, err := load{address: s.load.address, connections: 1, total: 100, status: s.load.status, request: s.load.request}.run(ctx)
	if err != nil {
		return subject{}, err
	}
	size, body := r.bytes/r.requests, ""
	request := s.load.request(nil, 0)
	method, _, _ := strings.Cut(string(request), " ")
	if _, found, ok := strings.Cut(string(request), "\r\n\r\n"); ok {
		body = found
	}
	path := fmt.Sprintf("/fixed/%d", size)
	if s.load.status == http.StatusNotModified {
		path = "/unchanged"
	}
	// The headers are those that the server gets, so that both read as much.
	head, _, _ := strings.Cut(string(request), "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	lines[0] = method + " " + path + " HTTP/1.1"
	same := []byte(strings.Join(lines, "\r\n") + "\r\n\r\n" + body)
	l := s.load
	l.address, l.request = b.floor.address, rotating([][]byte{same})
	return subject{b.floor, l}, nil
}

// against measures a subject and the floor in turns, and adds a line for the
// CPU of a request and, where there is a target, one for the requests per second.
func (b *bench) against(ctx context.Context, what string, s subject, cpuTarget, rateTarget string) error {
	floor, err := b.like(ctx, s)
	if err != nil {
		return err
	}
	f, err := measure(ctx, b.options, s, floor)
	if err != nil {
		return err
	}
	what = fmt.Sprintf("%s (%s B)", what, grouped(f[0].size))
	b.table.compared(what+", server CPU per request", cpuTarget, us(f[0].cpu), us(f[1].cpu), micros)
	if rateTarget != "" {
		b.table.compared(what+fmt.Sprintf(", requests per second (p50 %s, p99 %s; Echo %s, %s)", short(f[0].p50), short(f[0].p99), short(f[1].p50), short(f[1].p99)),
			rateTarget, f[0].perSecond, f[1].perSecond, perSecond)
	}
	return nil
}

func us(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// warm stores all identities of a load once, so that what is measured is how
// they are recognised.
func (b *bench) warm(ctx context.Context, s subject, n int) error {
	s.load.total = n
	if _, err := s.load.run(ctx); err != nil {
		return err
	}
	_, err := admin{s.process.address}.saved(ctx)
	return err
}

func (b *bench) identifyW1(ctx context.Context) error {
	s := b.on(b.w1.identify())
	if err := b.warm(ctx, s, b.w1.identities); err != nil {
		return err
	}
	return b.against(ctx, "W1: all 100 flags of an identity, traits in the request", s, "<= 1.4 x", ">= 0.7 x")
}

func (b *bench) identifyW3(ctx context.Context) error {
	s := b.on(b.w3.identify())
	if err := b.warm(ctx, s, b.w3.identities); err != nil {
		return err
	}
	return b.against(ctx, "W3: all 1,000 flags of an identity", s, "<= 2.5 x", "reported")
}

func (b *bench) evaluateOne(ctx context.Context) error {
	return b.against(ctx, "W2: one flag by OFREP", b.on(b.w1.evaluateOne()), "<= 1.4 x", "reported")
}

func (b *bench) preparedFlags(ctx context.Context) error {
	return b.prepared(ctx, "GET flags", "/api/v1/flags/", b.w1.headers())
}

func (b *bench) preparedDocument(ctx context.Context) error {
	return b.prepared(ctx, "GET environment-document", "/api/v1/environment-document/", []string{"X-Environment-Key: " + b.key})
}

// prepared measures an answer that is the same for everybody, and that it is
// unchanged.
func (b *bench) prepared(ctx context.Context, what, path string, headers []string) error {
	whole := b.on([][]byte{message("GET", path, headers, "")})
	if err := b.against(ctx, what, whole, "<= 1.1 x", ""); err != nil {
		return err
	}
	etag, err := b.etag(ctx, path, headers)
	if err != nil {
		return err
	}
	unchanged := b.on([][]byte{message("GET", path, append(headers, "If-None-Match: "+etag), "")})
	unchanged.load.status = http.StatusNotModified
	return b.against(ctx, what+", unchanged (304)", unchanged, "<= 1.1 x", "")
}

func (b *bench) etag(ctx context.Context, path string, headers []string) (string, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", b.server.address)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write(message("GET", path, headers, "")); err != nil {
		return "", err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return "", err
	}
	return response.Header.Get("ETag"), response.Body.Close()
}

// identifyW4 measures identities that are known, by identifier alone, beside W1.
func (b *bench) identifyW4(ctx context.Context) error {
	w := b.w4
	p, err := b.start(ctx, "w4")
	if err != nil {
		return err
	}
	a := admin{p.address}
	if _, err := a.create(ctx, w); err != nil {
		return err
	}
	begin := time.Now()
	if err := a.load(ctx, w, w.identities/10); err != nil {
		return err
	}
	stored := grouped(w.identities) + " identities, " + grouped(w.identities/10) + " overrides"
	b.table.add("W4: "+stored+" loaded through the API", short(time.Since(begin)), "", "", "reported")
	if err := b.stop(p); err != nil {
		return err
	}
	begin = time.Now()
	if p, err = b.start(ctx, "w4"); err != nil {
		return err
	}
	took := time.Since(begin)
	cpu, err := p.cpu()
	if err != nil {
		return err
	}
	b.table.add(fmt.Sprintf("W4: ready after a start (%s of processor time)", short(cpu)), short(took), "", "", "<= 10 s")

	messages := w.identifyStored()
	of := func(p *process, messages [][]byte) subject {
		return subject{p, load{address: p.address, connections: connections, status: http.StatusOK, request: rotating(messages)}}
	}
	reference := b.on(b.w1.identify())
	if err := b.warm(ctx, reference, b.w1.identities); err != nil {
		return err
	}
	f, err := measure(ctx, b.options, of(p, messages), reference)
	if err != nil {
		return err
	}
	b.table.compared(fmt.Sprintf("W4: all 100 flags of a known identity, by identifier (%s B), server CPU per request, beside W1", grouped(f[0].size)), "<= 1.3 x W1", us(f[0].cpu), us(f[1].cpu), micros)
	rss, err := p.rss()
	if err != nil {
		return err
	}
	b.table.add("W4: resident memory after that", mebibytes(rss), "", "", "<= 1536 MiB")
	return b.stop(p)
}

// changedTraits measures how many identities can bring a changed trait, all of
// which are stored, and what that does to the evaluation of others.
func (b *bench) changedTraits(ctx context.Context) error {
	s := b.on(b.w1.identify())
	if err := b.warm(ctx, s, b.w1.identities); err != nil {
		return err
	}
	changed := s.load
	changed.request = b.w1.identifyChanged()
	a := admin{b.server.address}
	before, err := a.saved(ctx)
	if err != nil {
		return err
	}
	begin := time.Now()
	changed.during = 5 * b.round
	r, err := changed.run(ctx)
	if err != nil {
		return err
	}
	after, err := a.saved(ctx)
	if err != nil {
		return err
	}
	rate := float64(r.requests) / time.Since(begin).Seconds()
	b.table.add(fmt.Sprintf("identities with a changed trait, until all is stored (p99 %s; %s records written)", short(r.quantile(99)), grouped(int(after-before))),
		perSecond(rate), "", "", ">= 5,000/s")

	// The same number of requests beside an evaluation, once with nothing to store and once with.
	const beside = 2000
	var p50, p99 [2]time.Duration
	for i, request := range []func([]byte, int) []byte{s.load.request, b.w1.identifyChanged()} {
		others, one := s.load, s.load
		others.request, others.perSecond, others.during = request, beside, 5*b.round
		one.connections, one.during = 1, 5*b.round
		done := make(chan error, 1)
		go func() {
			_, err := others.run(ctx)
			done <- err
		}()
		r, err := one.run(ctx)
		if err := errors.Join(err, <-done); err != nil {
			return err
		}
		p50[i], p99[i] = r.quantile(50), r.quantile(99)
		if _, err := a.saved(ctx); err != nil {
			return err
		}
	}
	b.table.add(fmt.Sprintf("W1 latency beside %s/s identities with a changed trait (without)", grouped(beside)),
		fmt.Sprintf("p50 %s, p99 %s", short(p50[1]), short(p99[1])), fmt.Sprintf("p50 %s, p99 %s", short(p50[0]), short(p99[0])),
		fmt.Sprintf("%.2f x", p99[1].Seconds()/p99[0].Seconds()), "unaffected")
	return nil
}

// growth measures W1 in projects that have more of what it does not ask for.
func (b *bench) growth(ctx context.Context) error {
	var subjects []subject
	var sizes []int
	a := admin{b.server.address}
	for _, factor := range []int{1, 10, 100} {
		w := b.w1
		w.project = fmt.Sprintf("growth-%d", factor)
		if _, err := a.create(ctx, w); err != nil {
			return err
		}
		more := max(1, int(float64(factor)*b.scale))
		for i := range more - 1 {
			path := "/admin/v1/projects/" + w.project + "/environments"
			if _, err := a.send(ctx, http.MethodPost, path, nil, object{"key": fmt.Sprintf("more-%d", i), "reason": "bench"}, nil); err != nil {
				return err
			}
		}
		others := w
		others.identities = 100 * more
		if err := a.loadOthers(ctx, others); err != nil {
			return err
		}
		if err := a.commits(ctx, w, 100*more); err != nil {
			return err
		}
		s := b.on(w.identify())
		if err := b.warm(ctx, s, w.identities); err != nil {
			return err
		}
		subjects, sizes = append(subjects, s), append(sizes, more)
	}
	f, err := measure(ctx, b.options, subjects...)
	if err != nil {
		return err
	}
	for i, more := range sizes {
		if i > 0 {
			b.table.compared(fmt.Sprintf("W1 with %d x the overrides of others, commits and environments (1 x: 100, 100, 1), server CPU per request", more),
				"<= 1.1 x", us(f[i].cpu), us(f[0].cpu), micros)
		}
	}
	return nil
}

// loadOthers gives overrides to identities that W1 does not ask about.
func (a admin) loadOthers(ctx context.Context, w workload) error {
	const far = 5_000_000
	for first := 0; first < w.identities; first += 1000 {
		var people, overrides []any
		for i := first; i < min(first+1000, w.identities); i++ {
			people, overrides = append(people, object{"identifier": identifier(far + i)}), append(overrides, override(far+i))
		}
		for i := 0; i < len(people); i += 100 {
			l := load{address: a.address, connections: 1, total: 1, status: http.StatusOK, request: func(b []byte, _ int) []byte {
				return append(b, message("POST", "/api/v1/bulk-identities/", w.headers(), text(object{"data": people[i:min(i+100, len(people))]}))...)
			}}
			if _, err := l.run(ctx); err != nil {
				return err
			}
		}
		if _, err := a.saved(ctx); err != nil {
			return err
		}
		if err := a.change(ctx, w.project, overrides); err != nil {
			return err
		}
	}
	return nil
}

// idleDemo measures the memory of a server that has nothing to do.
func (b *bench) idleDemo(ctx context.Context) error {
	p, err := b.start(ctx, "demo", "--demo")
	if err != nil {
		return err
	}
	if !sleep(ctx, time.Duration(b.scale*float64(5*time.Second))) {
		return ctx.Err()
	}
	rss, err := p.rss()
	if err != nil {
		return err
	}
	b.table.add("idle demo, resident memory", mebibytes(rss), "", "", "<= 60 MiB")
	return b.stop(p)
}
