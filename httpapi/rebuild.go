package httpapi

import (
	"errors"
	"net/http"
	"time"

	"github.com/belltower/belltower/internal/rowdiff"
)

// Rebuilder builds projections from the log's beginning while they go on
// answering, as far as the API knows it.
type Rebuilder interface {
	// Rebuild builds the projection anew beside what it is, and puts it in its
	// place. While that goes on, and while it is being verified, it begins nothing.
	Rebuild(name string) (Rebuilding, error)
	// Verify builds the projection beside what it is, likewise, and compares the two.
	Verify(name string) (Rebuilding, error)
	// Rebuilding is the last of these; ok is false where there was none since the start.
	Rebuilding(name string) (r Rebuilding, ok bool)
}

// ErrNoProjection says that no projection has that name.
var ErrNoProjection = errors.New("there is no such projection")

// States of a Rebuilding.
const (
	RebuildRunning = "running"
	RebuildDone    = "done"
	RebuildFailed  = "failed"
)

// Rebuilding is how far one rebuild or verification has come.
type Rebuilding struct {
	Purpose          string               `json:"purpose"` // "rebuild" or "verify"
	State            string               `json:"state"`
	StartedAt        time.Time            `json:"started_at"`
	EndedAt          *time.Time           `json:"ended_at,omitempty"`
	Facts            int64                `json:"facts"` // that were read
	Part             float64              `json:"part"`  // of the log, from 0 to 1
	Error            string               `json:"error,omitempty"`
	RowsCompared     int64                `json:"rows_compared"`
	DifferencesInAll int64                `json:"differences_in_all"`
	Differences      []rowdiff.Difference `json:"differences,omitempty"` // the first of them
}

var (
	errNotAdmin = newProblem(http.StatusForbidden, "forbidden", "only the administrator's token may ask for this")
	errNoSuch   = newProblem(http.StatusNotFound, "projection_not_found", "no projection has this name; GET /v1/stats names them")
)

// AdminName is the caller who may do what concerns the service as a whole.
const AdminName = "admin"

func (s *server) postRebuild(c *call) (*answer, error) { return s.build(c, s.o.Rebuilder.Rebuild) }

func (s *server) postVerify(c *call) (*answer, error) { return s.build(c, s.o.Rebuilder.Verify) }

func (s *server) build(c *call, begin func(name string) (Rebuilding, error)) (*answer, error) {
	if c.actor != AdminName {
		return nil, errNotAdmin
	}
	b, err := c.optionalBody()
	if err != nil {
		return nil, err
	}
	if err := b.end(); err != nil {
		return nil, err
	}
	r, err := begin(c.vars["name"])
	if errors.Is(err, ErrNoProjection) {
		return nil, errNoSuch
	} else if err != nil {
		return nil, err
	}
	return &answer{status: http.StatusAccepted, body: r}, nil
}

// rebuilding is how far a projection's rebuild is; nil where there was none.
func (s *server) rebuilding(name string) *Rebuilding {
	if r, ok := s.o.Rebuilder.Rebuilding(name); ok {
		return &r
	}
	return nil
}
