package httpapi

import (
	"net/http"
	"sync"

	"github.com/belltower/belltower/projections"
)

// What the answers that are kept may take, keys and bodies together, and one of
// them alone.
const (
	maxRepeated = 8 << 20
	maxAnswer   = 256 << 10
)

// repeated keeps answers to GETs that the read models alone decide, encoded, for
// as long as these answer the same. A list that many look at is asked for again
// and again between two changes.
type repeated struct {
	mu      sync.RWMutex
	edition projections.Edition // of all that is kept
	bytes   int
	kept    map[string]answer // by URL
}

// encoded is a body that was encoded before.
type encoded []byte

func (r *repeated) get(edition projections.Edition, url string) (answer, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.edition != edition {
		return answer{}, false
	}
	a, ok := r.kept[url]
	return a, ok
}

func (r *repeated) put(edition projections.Edition, url string, a answer) {
	size := len(url) + len(a.body.(encoded))
	if size > maxAnswer {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kept == nil || r.edition != edition || r.bytes+size > maxRepeated {
		r.edition, r.bytes, r.kept = edition, 0, map[string]answer{}
	}
	if _, ok := r.kept[url]; !ok {
		r.kept[url], r.bytes = a, r.bytes+size
	}
}

// again gives the answer that was given to the same URL before, where the read
// models would answer the same, and otherwise that of ask, which nothing else
// decides: not who asks, nor when.
func (s *server) again(c *call, ask func() (*answer, error)) (*answer, error) {
	edition, known := s.o.Models.Edition()
	if !known {
		return ask()
	}
	url := c.URL.Path + "?" + c.URL.RawQuery
	if a, ok := s.repeated.get(edition, url); ok {
		return &a, nil
	}
	a, err := ask()
	if err != nil || a.status != http.StatusOK {
		return a, err
	}
	if after, known := s.o.Models.Edition(); !known || after != edition {
		return a, nil
	}
	body, err := encode(a.body)
	if err != nil {
		return nil, err
	}
	a.body = encoded(body)
	s.repeated.put(edition, url, *a)
	return a, nil
}
