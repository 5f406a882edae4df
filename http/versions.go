package httpapi

import (
	"strconv"
	"time"

	"flagledger/domain"
	"flagledger/projections"
)

// shownVersion is a version of an environment with the commit that made it.
type shownVersion struct {
	projections.Version
	RecordedAt time.Time     `json:"recorded_at"`
	Actor      domain.Actor  `json:"actor"`
	Source     domain.Source `json:"source"`
	Reason     string        `json:"reason"`
	Ticket     string        `json:"ticket"`
	Summary    []string      `json:"summary"` // a sentence per changed object
}

func (r *request) showVersion(v projections.Version) (shownVersion, error) {
	shown := shownVersion{Version: v, Summary: []string{}}
	e, err := r.server.Views.AuditEntry(v.Position, projections.Scopes{{Project: r.project.Key, Environment: r.environment.Key}})
	if err != nil {
		return shown, err
	}
	entry, err := r.showEntry(e)
	if err != nil {
		return shown, err
	}
	shown.RecordedAt, shown.Actor, shown.Source, shown.Reason, shown.Ticket = entry.RecordedAt, entry.Actor, entry.Source, entry.Reason, entry.Ticket
	for _, c := range entry.Changes {
		shown.Summary = append(shown.Summary, c.Sentence)
	}
	return shown, nil
}

func (s *Server) listVersions(r *request) error {
	limit, err := r.limit()
	if err != nil {
		return err
	}
	var below uint64
	if r.QueryParam("cursor") != "" {
		if below, err = r.positionCursor(); err != nil {
			return err
		}
	}
	if r.asOf != "" {
		newest, err := s.Views.VersionAt(r.environmentID(), r.project.Position)
		if err != nil {
			return err
		}
		if below == 0 || below > newest.Version {
			below = newest.Version + 1
		}
	}
	versions, err := s.Views.Versions(r.environmentID(), below, limit)
	if err != nil {
		return err
	}
	list := page[shownVersion]{Items: []shownVersion{}}
	for _, v := range versions {
		shown, err := r.showVersion(v)
		if err != nil {
			return err
		}
		list.Items = append(list.Items, shown)
	}
	if len(versions) == limit && versions[limit-1].Version > 1 {
		list.Next = cursorOf(strconv.FormatUint(versions[limit-1].Version, 10))
	}
	return r.show(0, list)
}

// getVersion shows the whole content of a version.
func (s *Server) getVersion(r *request) error {
	number, err := parseNumber(r.param("version"))
	if err != nil || number == 0 {
		return domain.RefuseField(domain.Malformed, "version", "%q is not a version; versions are 1, 2, 3 ...", r.param("version"))
	}
	version, err := s.Views.Version(r.environmentID(), number)
	if err != nil {
		return inField("version", err)
	}
	if r.asOf != "" && version.Position > r.project.Position {
		return domain.RefuseField(domain.NotFound, "version", "version %d was not there yet at position %d", number, r.project.Position)
	}
	shown, err := r.showVersion(version)
	if err != nil {
		return err
	}
	past, err := s.Views.At(r.environmentID(), version.Position)
	if err != nil {
		return err
	}
	content := contentOf(past, past.Environments.Get(r.environment.Key))
	for i, o := range content.Identities {
		content.Identities[i].Identifier = s.nameOf(r.environmentID(), o.Identity)
	}
	r.asOf = asOf(version.Position)
	r.seesContent(content)
	return r.show(0, struct {
		shownVersion
		Content environmentContent `json:"content"`
	}{shown, content})
}

// environmentContent is all that an environment evaluates.
type environmentContent struct {
	Features   []shownState     `json:"features"`
	Segments   []shownSegment   `json:"segments"` // those in use
	Identities []shownOverrides `json:"identities"`
}

// shownOverrides are those of an identity, with whose they are.
type shownOverrides struct {
	*domain.IdentityOverrides
	Identifier string `json:"identifier"`
}

// shownSegment is a segment as an environment sees it.
type shownSegment struct {
	*domain.Segment
	Pinned bool `json:"pinned"`
}

func contentOf(p *domain.Project, env *domain.Environment) environmentContent {
	c := environmentContent{Features: []shownState{}, Segments: []shownSegment{}, Identities: []shownOverrides{}}
	for _, f := range p.Features.All() {
		state := showState(env, f)
		for i := range state.SegmentOverrides {
			state.SegmentOverrides[i].PinnedRevision = 0 // the segments tell
		}
		c.Features = append(c.Features, state)
	}
	for key := range env.Uses.All() {
		seg := *p.Segments.Get(key)
		pin := env.SegmentPins.Get(key)
		if pin != nil {
			seg.Revision, seg.Rules = pin.Revision, pin.Rules
		}
		c.Segments = append(c.Segments, shownSegment{&seg, pin != nil})
	}
	for _, o := range env.Identities.All() {
		c.Identities = append(c.Identities, shownOverrides{IdentityOverrides: o})
	}
	return c
}
