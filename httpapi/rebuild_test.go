package httpapi_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/httpapi"
	"github.com/belltower/belltower/internal/rowdiff"
)

// rebuilder begins what it is asked to, and ends nothing by itself.
type rebuilder struct {
	mu   sync.Mutex
	last map[string]httpapi.Rebuilding
}

func (r *rebuilder) begin(name, purpose string) (httpapi.Rebuilding, error) {
	if name != httpapi.ReadModels && name != httpapi.Planner {
		return httpapi.Rebuilding{}, httpapi.ErrNoProjection
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if last, ok := r.last[name]; ok && last.State == httpapi.RebuildRunning {
		return last, nil
	}
	if r.last == nil {
		r.last = map[string]httpapi.Rebuilding{}
	}
	r.last[name] = httpapi.Rebuilding{Purpose: purpose, State: httpapi.RebuildRunning, StartedAt: start}
	return r.last[name], nil
}

func (r *rebuilder) Rebuild(name string) (httpapi.Rebuilding, error) { return r.begin(name, "rebuild") }
func (r *rebuilder) Verify(name string) (httpapi.Rebuilding, error)  { return r.begin(name, "verify") }

func (r *rebuilder) Rebuilding(name string) (httpapi.Rebuilding, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, ok := r.last[name]
	return last, ok
}

func (r *rebuilder) set(name string, last httpapi.Rebuilding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last[name] = last
}

// shownRebuild is what GET /v1/stats says of a projection's rebuild; nil: nothing.
func (a *api) shownRebuild(name string) any {
	for _, p := range a.get("/v1/stats").is(200)["projections"].([]any) {
		if p.(object)["name"] == name {
			return p.(object)["rebuild"]
		}
	}
	a.t.Fatalf("no projection %s", name)
	return nil
}

func TestRebuildIsBegunOnceAndShown(t *testing.T) {
	a := newAPI(t)
	require.Nil(t, a.shownRebuild("read_models"))
	begun := a.post("/v1/projections/read_models/rebuild", nil).is(202)
	require.Equal(t, "running", begun["state"])
	require.Equal(t, "rebuild", begun["purpose"])
	require.Equal(t, begun, a.post("/v1/projections/read_models/rebuild", object{}).is(202), "again: the same answer")
	require.Equal(t, begun, a.post("/v1/projections/read_models/verify", nil).is(202), "one at a time")
	require.Equal(t, begun, a.shownRebuild("read_models"))
	require.Nil(t, a.shownRebuild("planner"))

	ended := start.Add(time.Minute)
	a.rebuilder.set("read_models", httpapi.Rebuilding{
		Purpose: "verify", State: httpapi.RebuildDone, StartedAt: start, EndedAt: &ended, Facts: 3, Part: 1, RowsCompared: 2, DifferencesInAll: 1,
		Differences: []rowdiff.Difference{{Table: "events", Key: "1", Kind: rowdiff.Changed, Column: "title", Want: "a", Got: "b"}},
	})
	require.Equal(t, object{
		"purpose": "verify", "state": "done", "started_at": "2031-04-01T09:00:00Z", "ended_at": "2031-04-01T09:01:00Z",
		"facts": 3.0, "part": 1.0, "rows_compared": 2.0, "differences_in_all": 1.0,
		"differences": []any{object{"table": "events", "key": "1", "kind": "changed", "column": "title", "want": "a", "got": "b"}},
	}, a.shownRebuild("read_models"))
}

func TestRebuildIsForTheAdministrator(t *testing.T) {
	a := newAPI(t)
	for _, what := range []string{"rebuild", "verify"} {
		a.as(annToken).post("/v1/projections/planner/"+what, nil).refused(403, "forbidden")
		a.post("/v1/projections/rows/"+what, nil).refused(404, "projection_not_found")
		require.Equal(t, 400, a.do(request{method: "POST", path: "/v1/projections/planner/" + what, body: object{"until": 3}, wrong: true}).status)
		require.Nil(t, a.shownRebuild("planner"))
	}
}
