package httpapi

import (
	"fmt"
	"net/http"

	"flagledger/commands"
	"flagledger/domain"
)

func segmentObject(key string) domain.Object {
	return domain.Object{Kind: domain.KindSegment, Key: key}
}

func (s *Server) listSegments(r *request) error {
	feature := r.QueryParam("feature")
	list, err := listOf(r, r.project.Segments, func(_ string, seg *domain.Segment) (*domain.Segment, bool) {
		return seg, feature == "" || seg.Feature == feature
	})
	if err != nil {
		return err
	}
	r.seesSegments(list.Items...)
	return r.show(0, list)
}

func (s *Server) createSegment(r *request) error {
	var body struct {
		why
		commands.CreateSegment
	}
	if err := r.read(&body); err != nil {
		return err
	}
	return r.answerSegment(http.StatusCreated, body.why, body.Key, body.CreateSegment)
}

// segment is the segment of the path.
func (r *request) segment() (*domain.Segment, error) {
	key := r.param("segment")
	if s := r.project.Segments.Get(key); s != nil {
		return s, nil
	}
	return nil, domain.RefuseField(domain.NotFound, "segment", "there is no segment %q in project %q", key, r.project.Key)
}

func (s *Server) getSegment(r *request) error {
	seg, err := r.segment()
	if err != nil {
		return err
	}
	p, err := r.whole()
	if err != nil {
		return err
	}
	r.seesSegments(seg)
	return r.show(seg.Changed.Position, struct {
		*domain.Segment
		PinnedIn []string `json:"pinned_in"` // environments that hold older rules
	}{seg, r.pinnedIn(p, func(env *domain.Environment) bool { return env.SegmentPins.Get(seg.Key) != nil })})
}

func (s *Server) segmentUsages(r *request) error {
	seg, err := r.segment()
	if err != nil {
		return err
	}
	p, err := r.whole()
	if err != nil {
		return err
	}
	usages := []commands.SegmentUsage{}
	for _, u := range commands.SegmentUsages(p, seg.Key) {
		if r.token.Allows(domain.Read, r.project.Key, u.Environment) {
			usages = append(usages, u)
		}
	}
	return r.show(seg.Changed.Position, page[commands.SegmentUsage]{Items: usages})
}

func (s *Server) updateSegment(r *request) error {
	var body struct {
		why
		commands.UpdateSegment
	}
	if err := r.read(&body, pathMember{"segment", &body.Segment, r.param("segment")}); err != nil {
		return err
	}
	return r.answerSegment(http.StatusOK, body.why, body.Segment, body.UpdateSegment)
}

func (r *request) answerSegment(status int, w why, key string, c commands.Command) error {
	o := segmentObject(key)
	result, err := r.do(w, o, c)
	if err != nil {
		return err
	}
	segment, _ := result.After.Get(o).(*domain.Segment)
	if segment != nil {
		r.seesSegments(segment) // all of it, whatever was changed
	}
	return r.answer(status, result, o, adviseOn(result.After, segment))
}

// advisedSegment is a segment with what its author should know: on which traits
// SDKs in local evaluation would not agree with the server.
type advisedSegment struct {
	*domain.Segment
	Warnings []domain.FieldError `json:"warnings,omitempty"`
}

func adviseOn(p *domain.Project, s *domain.Segment) advisedSegment {
	advised := advisedSegment{Segment: s}
	if s == nil {
		return advised
	}
	for _, issue := range p.AdviseRules(s.Rules) {
		advised.Warnings = append(advised.Warnings, domain.FieldError{Field: issue.Path, Detail: issue.Detail, Fix: issue.Fix})
	}
	return advised
}

// adviseOnCommand is what the author of a command that sets rules should know of them as they are now.
func adviseOnCommand(p *domain.Project, c commands.Command, i int) []domain.FieldError {
	var key string
	switch c := c.(type) {
	case commands.CreateSegment:
		key = c.Key
	case commands.UpdateSegment:
		if c.Rules == nil {
			return nil
		}
		key = c.Segment
	default:
		return nil
	}
	warnings := adviseOn(p, p.Segments.Get(key)).Warnings
	for j := range warnings {
		warnings[j].Field = fmt.Sprintf("commands[%d].%s", i, warnings[j].Field)
	}
	return warnings
}

func (s *Server) deleteSegment(r *request) error {
	key := r.param("segment")
	result, err := r.do(r.queryWhy(), segmentObject(key), commands.DeleteSegment{Segment: key})
	if err != nil {
		return err
	}
	return r.answer(http.StatusNoContent, result, domain.Object{}, nil)
}

// listPins shows what the environment holds at an old revision.
func (s *Server) listPins(r *request) error {
	answer := struct {
		Segments []*domain.SegmentPin  `json:"segments"`
		Variants []*domain.VariantsPin `json:"variants"`
	}{[]*domain.SegmentPin{}, []*domain.VariantsPin{}}
	for _, pin := range r.environment.SegmentPins.All() {
		answer.Segments = append(answer.Segments, pin)
		r.seesRules(r.project.Key, r.environment.Key, pin.Segment, pin.Rules...)
	}
	for _, pin := range r.environment.VariantsPins.All() {
		answer.Variants = append(answer.Variants, pin)
	}
	return r.show(0, answer)
}

func (s *Server) unpinSegment(r *request) error {
	c := commands.UnpinSegment{Environment: r.environment.Key, Segment: r.param("segment")}
	o := domain.Object{Kind: domain.KindSegmentPin, Environment: r.environment.Key, Key: c.Segment}
	result, err := r.do(r.queryWhy(), o, c)
	if err != nil {
		return err
	}
	return r.answer(http.StatusNoContent, result, o, nil)
}
