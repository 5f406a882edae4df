package projections_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"flagledger/commands"
	"flagledger/domain"
	"flagledger/projections"
)

// refused tells whether the error is a refusal of the kind with the text in it.
func refused(err error, kind domain.Kind, part string) bool {
	e, ok := errors.AsType[*domain.Error](err)
	return ok && e.Kind == kind && strings.Contains(e.Detail, part)
}

// versioned is a shop with five commits: 1 opens it, 2 and 4 change production,
// 3 development, and 5 nothing that is evaluated.
func versioned(t *testing.T) *ledger {
	t.Helper()
	l := newLedger(t, t.TempDir()).closing(t)
	l.do(t, opening()...)
	l.do(t, setting("prod", "checkout", "v2"))
	l.do(t, setting("dev", "checkout", "v3"))
	l.do(t, setting("prod", "checkout", "v4"))
	l.do(t, commands.UpdateFeature{Feature: "checkout", Description: new("d")})
	return l
}

func TestVersions(t *testing.T) {
	l := versioned(t)
	id := l.id("prod")
	all, err := l.Versions(id, 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	var got [][2]uint64
	for _, v := range all {
		got = append(got, [2]uint64{v.Version, v.Position})
		one, err := l.Version(id, v.Version)
		if err != nil || one != v || len(v.Digest) != 64 {
			t.Errorf("version %d is %+v, in the list %+v, error %v", v.Version, one, v, err)
		}
	}
	if want := [][2]uint64{{3, 4}, {2, 2}, {1, 1}}; !slices.Equal(got, want) || l.CurrentVersion(id) != 3 {
		t.Errorf("versions and positions %v, want %v; the newest is %d", got, want, l.CurrentVersion(id))
	}
	if all[0].Digest == all[1].Digest || all[1].Digest == all[2].Digest {
		t.Error("versions of different content have the same digest")
	}
	for _, page := range []struct {
		below uint64
		limit int
		want  int // versions
		first uint64
	}{{0, 2, 2, 3}, {2, 2, 1, 1}, {1, 2, 0, 0}, {3, 1, 1, 2}, {99, 9, 3, 3}} {
		versions, err := l.Versions(id, page.below, page.limit)
		if err != nil || len(versions) != page.want || page.want > 0 && versions[0].Version != page.first {
			t.Errorf("below %d, at most %d: %v, error %v", page.below, page.limit, versions, err)
		}
	}
	nowhere := projections.EnvironmentID{Project: id.Project, ID: 99}
	if versions, err := l.Versions(nowhere, 0, 9); err != nil || len(versions) > 0 || l.CurrentVersion(nowhere) != 0 {
		t.Errorf("of no environment: %v, error %v", versions, err)
	}
	for _, version := range []uint64{0, 4} {
		if _, err := l.Version(id, version); !refused(err, domain.NotFound, "the newest is 3") {
			t.Errorf("version %d: %v", version, err)
		}
	}
}

func TestVersionAt(t *testing.T) {
	l := versioned(t)
	l.do(t, commands.CreateEnvironment{Key: "qa"})
	for _, test := range []struct {
		env      string
		position uint64
		want     uint64 // 0: none
	}{{"prod", 0, 0}, {"prod", 1, 1}, {"prod", 2, 2}, {"prod", 3, 2}, {"prod", 4, 3}, {"prod", 99, 3}, {"qa", 5, 0}, {"qa", 6, 1}} {
		v, err := l.VersionAt(l.id(test.env), test.position)
		if v.Version != test.want || (test.want == 0) != refused(err, domain.NotFound, "did not exist at position") {
			t.Errorf("%s at %d is at version %d, error %v, want %d", test.env, test.position, v.Version, err, test.want)
		}
	}
}

func TestPositionAt(t *testing.T) {
	l := versioned(t)
	for at, want := range map[time.Time]uint64{
		epoch.Add(-1): 0, epoch: 1, epoch.Add(1): 1, minute(3).Add(-1): 2, minute(3): 3, minute(5): 5, minute(5).AddDate(9, 0, 0): 5,
		time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC): 5, time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC): 0, // more nanoseconds than an int64 counts
		epoch.In(time.FixedZone("CET", 7200)): 1,
	} {
		if got, err := l.PositionAt(at); err != nil || got != want {
			t.Errorf("at %s it is position %d, error %v, want %d", at, got, err, want)
		}
	}
	if at, err := l.RecordedAt(3); err != nil || !at.Equal(minute(3)) || at.Location() != time.UTC {
		t.Errorf("commit 3 was recorded at %s, error %v", at, err)
	}
	if _, err := l.RecordedAt(6); err == nil {
		t.Error("a commit that there isn't was recorded some time")
	}
	if got, err := emptyViews(t).PositionAt(epoch); err != nil || got != 0 {
		t.Errorf("of an empty log it is %d, error %v", got, err)
	}
}

func TestAt(t *testing.T) {
	l := versioned(t)
	id := l.id("prod")
	value := func(p *domain.Project, env string) string {
		return p.Environments.Get(env).States.Get("checkout").Value.String()
	}
	for position, want := range map[uint64]string{1: "v1", 2: "v2", 3: "v2", 4: "v4", 5: "v4", 99: "v4", 1<<64 - 1: "v4"} {
		p, err := l.At(id, position)
		if err != nil || value(p, "prod") != want || p.Position != position {
			t.Fatalf("at %d: %v, error %v, want %s", position, p, err, want)
		}
		if dev := p.Environments.Get("dev"); dev == nil || dev.States.Len() > 0 {
			t.Errorf("at %d the parts of dev are there too", position)
		}
	}
	if _, err := l.At(id, 0); !refused(err, domain.NotFound, "the environment did not exist at position 0") {
		t.Errorf("before the beginning: %v", err)
	}
	p, err := l.At(projections.EnvironmentID{Project: id.Project}, 4)
	if err != nil || p.Features.Get("checkout").Description != "" || p.Environments.Get("prod").States.Len() > 0 {
		t.Errorf("without an environment: %v, error %v", p, err)
	}
	if p, err := l.At(projections.EnvironmentID{Project: domain.ProjectID("bank")}, 4); err != nil || p.Exists() {
		t.Errorf("of another project: %v, error %v", p, err)
	}

	if p, err := l.Past(l.shop(), "prod", 2); err != nil || value(p, "prod") != "v2" {
		t.Errorf("version 2: %v, error %v", p, err)
	}
	if _, err := l.Past(l.shop(), "qa", 1); !refused(err, domain.NotFound, `no environment "qa"`) {
		t.Errorf("of no environment: %v", err)
	}
	if _, err := l.Past(l.shop(), "prod", 9); !refused(err, domain.NotFound, "there is no version 9") {
		t.Errorf("of no version: %v", err)
	}

	state := domain.Object{Kind: domain.KindFeatureState, Environment: "prod", Key: "checkout"}
	for position, want := range map[uint64]string{0: "", 1: `"v1"`, 3: `"v2"`, 4: `"v4"`, 1<<64 - 1: `"v4"`} {
		image, err := l.Image(id, state, position)
		if err != nil || !strings.Contains(string(image), want) || (want == "") != (image == nil) {
			t.Errorf("at %d its image is %s, error %v, want %s", position, image, err, want)
		}
	}
}

// What went with an environment can still be seen in its time; a new one of its
// key has a time of its own.
func TestAnEnvironmentMadeAgain(t *testing.T) {
	for name, together := range map[string]bool{"in two commits": false, "in one commit": true} {
		t.Run(name, func(t *testing.T) {
			l := versioned(t)
			old := l.id("prod")
			before := imagesOf(t, l.shop(), "prod")
			last := uint64(len(l.log))
			if together {
				l.do(t, commands.DeleteEnvironment{Environment: "prod"}, commands.CreateEnvironment{Key: "prod"})
			} else {
				l.do(t, commands.DeleteEnvironment{Environment: "prod"})
				l.do(t, commands.CreateEnvironment{Key: "prod"})
			}
			now := l.id("prod")
			if now == old || l.CurrentVersion(now) != 1 || l.Snapshot(old) != nil || l.Snapshot(now) == nil {
				t.Errorf("the new environment is %v at version %d", now, l.CurrentVersion(now))
			}
			past, err := l.At(old, last)
			if err != nil {
				t.Fatal(err)
			}
			if got := imagesOf(t, past, "prod"); !maps.Equal(got, before) {
				t.Errorf("the old one was %v, is %v in its time", before, got)
			}
			if _, err := l.At(old, last+1); !refused(err, domain.NotFound, "did not exist") {
				t.Errorf("the old one in the new one's time: %v", err)
			}
			if _, err := l.At(now, last); !refused(err, domain.NotFound, "did not exist") {
				t.Errorf("the new one in the old one's time: %v", err)
			}
			entry, err := l.AuditEntry(last+1, nil)
			if err != nil {
				t.Fatal(err)
			}
			gone := map[string]string{}
			for _, c := range entry.Changes {
				if c.EnvironmentID == old.ID {
					gone[c.Object.String()] = string(c.Before)
					if c.After != nil {
						t.Errorf("%s of the old one becomes %s", c.Object, c.After)
					}
				}
				if c.EnvironmentID == now.ID && (c.Before != nil || c.After == nil) {
					t.Errorf("%s of the new one was %s", c.Object, c.Before)
				}
			}
			maps.DeleteFunc(before, func(name, _ string) bool { return !strings.Contains(name, "prod/") })
			if !maps.Equal(gone, before) {
				t.Errorf("gone are %v, want %v", gone, before)
			}
			want := imagesOf(t, l.shop(), "prod")
			l.close(t)
			l.open(t)
			if got := imagesOf(t, l.shop(), "prod"); !maps.Equal(got, want) {
				t.Errorf("opened again %v, was %v", got, want)
			}
		})
	}
}
