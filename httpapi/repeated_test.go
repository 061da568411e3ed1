package httpapi

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/projections"
)

// What is kept is bounded, and of one edition.
func TestRepeatedAnswersAreBounded(t *testing.T) {
	var r repeated
	var now projections.Edition
	said := func(size int) answer { return answer{status: http.StatusOK, body: encoded(strings.Repeat("x", size))} }
	r.put(now, "large", said(maxAnswer))
	_, ok := r.get(now, "large")
	require.False(t, ok, "it would take the place of many")
	for i := range 3 * maxRepeated / 1000 {
		url := fmt.Sprint("/", i)
		r.put(now, url, said(1000))
		r.put(now, url, said(1000))
		_, ok := r.get(now, url)
		require.True(t, ok)
		require.LessOrEqual(t, r.bytes, maxRepeated)
	}
}
