package httpapi

import (
	"net/http"
	"slices"

	"flagledger/commands"
	"flagledger/domain"
)

// shownTests are the cases of a segment or feature with how they fare.
type shownTests struct {
	Cases    any                `json:"cases"`
	Failures []shownFailure     `json:"failures"`
	Coverage []domain.Uncovered `json:"uncovered,omitempty"` // of a segment: what no case sees both ways
}

type shownFailure struct {
	Name   string `json:"name"`
	Detail string `json:"detail"`
}

// showTests runs the cases of one object.
func showTests(p *domain.Project, o domain.Object) (shownTests, error) {
	shown := shownTests{Cases: []any{}, Failures: []shownFailure{}}
	failures, err := p.RunTests([]domain.Object{o})
	if err != nil {
		return shown, err
	}
	for _, f := range failures {
		if f.Object == o {
			shown.Failures = append(shown.Failures, shownFailure{f.Name, f.Detail})
		}
	}
	if o.Kind == domain.KindSegment {
		if tests := p.SegmentTests.Get(o.Key); tests != nil {
			shown.Cases = tests.Cases
		}
		shown.Coverage, err = p.Coverage(o.Key)
	} else if tests := p.FeatureTests.Get(o.Key); tests != nil {
		shown.Cases = tests.Cases
	}
	return shown, err
}

func (s *Server) getSegmentTests(r *request) error {
	seg, err := r.segment()
	if err != nil {
		return err
	}
	tests, err := showTests(r.project, segmentObject(seg.Key))
	if err != nil {
		return err
	}
	r.seesSegments(seg) // what its rules do, if not how
	return r.show(r.project.Revision(domain.Object{Kind: domain.KindSegmentTests, Key: seg.Key}), tests)
}

func (s *Server) setSegmentTests(r *request) error {
	var body struct {
		why
		commands.SetSegmentTests
	}
	if err := r.read(&body); err != nil {
		return err
	}
	body.Segment = r.param("segment")
	return r.answerTests(body.why, domain.Object{Kind: domain.KindSegmentTests, Key: body.Segment}, segmentObject(body.Segment), body.SetSegmentTests)
}

func (s *Server) getFeatureTests(r *request) error {
	f, err := r.feature(r.project)
	if err != nil {
		return err
	}
	p, err := r.whole()
	if err != nil {
		return err
	}
	tests, err := showTests(p, featureObject(f.Key))
	if err != nil {
		return err
	}
	r.leaveOut(&tests)
	return r.show(r.project.Revision(domain.Object{Kind: domain.KindFeatureTests, Key: f.Key}), tests)
}

// leaveOut takes out of the cases of a feature those of environments that the
// token may not see.
func (r *request) leaveOut(tests *shownTests) {
	cases, _ := tests.Cases.([]domain.FeatureCase)
	hidden := map[string]bool{}
	shown := slices.DeleteFunc(slices.Clone(cases), func(c domain.FeatureCase) bool {
		hidden[c.Name] = !r.token.Allows(domain.Read, r.project.Key, c.Environment)
		return hidden[c.Name]
	})
	if len(shown) == len(cases) {
		return
	}
	tests.Cases = shown
	tests.Failures = slices.DeleteFunc(tests.Failures, func(f shownFailure) bool { return hidden[f.Name] })
}

func (s *Server) setFeatureTests(r *request) error {
	var body struct {
		why
		commands.SetFeatureTests
	}
	if err := r.read(&body); err != nil {
		return err
	}
	body.Feature = r.param("feature")
	return r.answerTests(body.why, domain.Object{Kind: domain.KindFeatureTests, Key: body.Feature}, featureObject(body.Feature), body.SetFeatureTests)
}

func (r *request) answerTests(w why, o, about domain.Object, c commands.Command) error {
	result, err := r.do(w, o, c)
	if err != nil {
		return err
	}
	tests, err := showTests(result.After, about)
	if err != nil {
		return err
	}
	if segment, is := result.After.Get(about).(*domain.Segment); is {
		r.seesSegments(segment)
	}
	return r.answer(http.StatusOK, result, o, tests)
}
