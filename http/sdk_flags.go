package httpapi

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"flagledger/domain/evaluation"
	"flagledger/projections"
)

// flagsFor is the answer with the environment's own flags, for one sort of key.
// Its address names it within a snapshot.
type flagsFor struct {
	shown   func(*projections.Snapshot) []*evaluation.Outcome
	prepare func(*projections.Snapshot) any // a *preparedAnswer
}

func newFlagsFor(shown func(*projections.Snapshot) []*evaluation.Outcome) *flagsFor {
	return &flagsFor{shown, func(s *projections.Snapshot) any { return newPreparedAnswer(appendFlags(nil, shown(s)), s) }}
}

var flagsForClients, flagsForServers = newFlagsFor(shownToClients), newFlagsFor(shownToServers)

// getFlags answers with the environment's own flags: without an identity there
// are no segments and no splits.
func (k *sdk) getFlags(c echo.Context, at sdkAccess) error {
	if name := query(c, "feature"); name != "" {
		return answerFlag(c, at, name, nil)
	}
	flags := flagsForClients
	if at.server {
		flags = flagsForServers
	}
	p := at.snapshot.Keep(flags, flags.prepare).(*preparedAnswer)
	if err := k.answerPrepared(c, at, p); err != nil || c.Response().Status != http.StatusOK {
		return err
	}
	at.snapshot.CountPrepared(flags, flags.shown)
	return nil
}

// shownToClients are the environment's own flags, as client keys are shown them.
func shownToClients(s *projections.Snapshot) []*evaluation.Outcome {
	return sdkAccess{snapshot: s}.shown(s.Evaluation.Evaluate(nil, nil))
}

// shownToServers are the same for server keys.
func shownToServers(s *projections.Snapshot) []*evaluation.Outcome {
	return sdkAccess{snapshot: s, server: true}.shown(s.Evaluation.Evaluate(nil, nil))
}

// answerFlag sends a single flag.
func answerFlag(c echo.Context, at sdkAccess, name string, identity *evaluation.Identity) error {
	flag := at.flag(name)
	if flag == nil {
		return errNoFeature
	}
	outcome := at.snapshot.Evaluation.EvaluateFlag(flag, identity)
	if at.hides(outcome) {
		return errNoFeature
	}
	at.snapshot.Tally.Count(outcome)
	return answerJSON(c, http.StatusOK, outcome.Body)
}

// appendFlags writes a list of flags.
func appendFlags(b []byte, outcomes []*evaluation.Outcome) []byte {
	b = append(b, '[')
	first := len(b)
	for _, o := range outcomes {
		if len(b) > first {
			b = append(b, ',')
		}
		b = append(b, o.Body...)
	}
	return append(b, ']')
}
