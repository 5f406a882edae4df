package httpapi

import (
	"net/http"

	"github.com/labstack/echo/v4"
)

// report is one line of what an SDK reports.
type report struct {
	feature string
	count   int64
}

// postUsage takes the counts of an SDK: an object from flag names to counts.
// What is not a flag or not a count is passed over.
func (k *sdk) postUsage(c echo.Context, at sdkAccess) error {
	b := sdkBufferPool.Get().(*sdkBuffers)
	defer b.release()
	r, err := k.readBody(c, b)
	if err != nil {
		return err
	}
	if r.objectField() != "" {
		return r.finish(fieldErrors{"non_field_errors": []string{"Expected a JSON object."}})
	}
	var reports []report
	for r.enter('{'); r.next('}'); {
		name := r.key()
		if r.kind() != jsonNumber {
			r.skip()
			continue
		}
		if count, whole := r.scalar().AsInt(); whole {
			reports = append(reports, report{name, count})
		}
	}
	if err := r.finish(nil); err != nil {
		return err
	}
	k.report(at, reports)
	c.Response().Header()["Content-Length"] = []string{"0"}
	c.Response().WriteHeader(http.StatusOK)
	return nil
}

// postEvaluations takes a list of evaluations, each with its count.
func (k *sdk) postEvaluations(c echo.Context, at sdkAccess) error {
	b := sdkBufferPool.Get().(*sdkBuffers)
	defer b.release()
	r, err := k.readBody(c, b)
	if err != nil {
		return err
	}
	reports, invalid := k.readEvaluations(&r)
	if err := r.finish(invalid); err != nil {
		return err
	}
	k.report(at, reports)
	return c.NoContent(http.StatusNoContent)
}

func (k *sdk) readEvaluations(r *jsonReader) (reports []report, invalid fieldErrors) {
	if problem := r.objectField(); problem != "" {
		return nil, fieldErrors{"non_field_errors": []string{problem}}
	}
	invalid.add("evaluations", problemRequired)
	for r.enter('{'); r.next('}'); {
		if r.key() != "evaluations" {
			r.skip()
			continue
		}
		reports, invalid = nil, nil
		if r.kind() != jsonArray {
			invalid.add("evaluations", `Expected a list of items but got type "`+r.pythonType()+`".`)
			r.skip()
			continue
		}
		var problems listErrors
		for r.enter('['); r.next(']'); {
			one, wrong := k.readEvaluation(r)
			problems.add(wrong)
			reports = append(reports, one)
		}
		if problems.found {
			invalid.set("evaluations", problems.list)
		}
	}
	return reports, invalid
}

func (k *sdk) readEvaluation(r *jsonReader) (one report, invalid fieldErrors) {
	if problem := r.objectField(); problem != "" {
		return one, fieldErrors{"non_field_errors": []string{problem}}
	}
	problems := map[string]string{"feature_name": problemRequired, "count": problemRequired, "enabled_when_evaluated": problemRequired}
	for r.enter('{'); r.next('}'); {
		switch field := r.key(); field {
		case "feature_name":
			one.feature, problems[field] = r.textField(k.Limits.TextLength)
		case "count":
			one.count, problems[field] = r.integerField()
		case "enabled_when_evaluated":
			_, problems[field] = r.boolField()
		default:
			r.skip()
		}
	}
	for field, problem := range problems {
		invalid.add(field, problem)
	}
	return one, invalid
}

// maxReported is more than an app evaluates a flag between two reports. Beyond
// it a count is cut, so that sums cannot overflow.
const maxReported = 1_000_000_000

// report passes on what is about flags that exist.
func (k *sdk) report(at sdkAccess, reports []report) {
	if k.Usage == nil {
		return
	}
	for _, one := range reports {
		if flag := at.flag(one.feature); flag != nil && one.count > 0 {
			k.Usage.Report(at.environment, flag.Name, min(one.count, maxReported))
		}
	}
}
