package httpapi

import (
	"net/http"
	"slices"

	"flagledger/commands"
	"flagledger/domain"
)

// shownTests are the cases of a segment or feature with how they fare.
type shownTests struct {
	Cases     any          `json:"cases"`
	Failures  []caseResult `json:"failures"`
	Skipped   []caseResult `json:"skipped,omitempty"` // of a feature: those that cannot be run
	Uncovered any          `json:"uncovered"`         // what no case reaches
}

type caseResult struct {
	Name   string `json:"name"`
	Detail string `json:"detail"`
}

func showCases(of domain.Object, results []domain.TestFailure) []caseResult {
	shown := []caseResult{}
	for _, f := range results {
		if f.Object == of {
			shown = append(shown, caseResult{f.Name, f.Detail})
		}
	}
	return shown
}

// showTests runs the cases of one object.
func (r *request) showTests(p *domain.Project, o domain.Object) (shownTests, error) {
	shown := shownTests{Cases: []any{}}
	persons := func(env *domain.Environment, identifier string) string {
		known := r.server.Identities.Get(environmentID(p, env), identifier)
		if known == nil {
			return ""
		}
		r.seesIdentity(p.Key, env.Key, known.Surrogate) // its overrides
		return known.Surrogate
	}
	failures, err := p.RunTests([]domain.Object{o}, persons)
	if err != nil {
		return shown, err
	}
	shown.Failures = showCases(o, failures)
	if o.Kind == domain.KindSegment {
		if tests := p.SegmentTests.Get(o.Key); tests != nil {
			shown.Cases = tests.Cases
		}
		shown.Uncovered, err = p.SegmentCoverage(o.Key)
		return shown, err
	}
	if tests := p.FeatureTests.Get(o.Key); tests != nil {
		shown.Cases = tests.Cases
	}
	shown.Skipped = showCases(o, p.SkippedTests(o.Key))
	uncovered, err := p.FeatureCoverage(o.Key, persons)
	shown.Uncovered = uncovered
	r.leaveOut(&shown)
	return shown, err
}

func (s *Server) getSegmentTests(r *request) error {
	seg, err := r.segment()
	if err != nil {
		return err
	}
	tests, err := r.showTests(r.project, segmentObject(seg.Key))
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
	if err := r.read(&body, pathMember{"segment", &body.Segment, r.param("segment")}); err != nil {
		return err
	}
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
	tests, err := r.showTests(p, featureObject(f.Key))
	if err != nil {
		return err
	}
	return r.show(r.project.Revision(domain.Object{Kind: domain.KindFeatureTests, Key: f.Key}), tests)
}

// leaveOut takes out of the tests of a feature what is about environments that the
// token may not see.
func (r *request) leaveOut(tests *shownTests) {
	hides := func(environment string) bool { return !r.token.Allows(domain.Read, r.project.Key, environment) }
	cases, _ := tests.Cases.([]domain.FeatureCase)
	hidden := map[string]bool{}
	if len(cases) > 0 {
		tests.Cases = slices.DeleteFunc(slices.Clone(cases), func(c domain.FeatureCase) bool {
			hidden[c.Name] = hides(c.Environment)
			return hidden[c.Name]
		})
	}
	isHidden := func(c caseResult) bool { return hidden[c.Name] }
	tests.Failures, tests.Skipped = slices.DeleteFunc(tests.Failures, isHidden), slices.DeleteFunc(tests.Skipped, isHidden)
	if branches, ok := tests.Uncovered.([]domain.Branch); ok {
		tests.Uncovered = slices.DeleteFunc(branches, func(b domain.Branch) bool { return hides(b.Environment) })
	}
}

func (s *Server) setFeatureTests(r *request) error {
	var body struct {
		why
		commands.SetFeatureTests
	}
	if err := r.read(&body, pathMember{"feature", &body.Feature, r.param("feature")}); err != nil {
		return err
	}
	return r.answerTests(body.why, domain.Object{Kind: domain.KindFeatureTests, Key: body.Feature}, featureObject(body.Feature), body.SetFeatureTests)
}

func (r *request) answerTests(w why, o, about domain.Object, c commands.Command) error {
	result, err := r.do(w, o, c)
	if err != nil {
		return err
	}
	tests, err := r.showTests(result.After, about)
	if err != nil {
		return err
	}
	if segment, is := result.After.Get(about).(*domain.Segment); is {
		r.seesSegments(segment)
	}
	return r.answer(http.StatusOK, result, o, tests)
}
