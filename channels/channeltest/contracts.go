package channeltest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers/legacy"
	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/channels"
)

// Shared reads a file of the folder shared/contracts beside the project or above
// it, where providers' descriptions and test vectors are kept, and skips the test
// where there is none.
func Shared(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(sharedPath(t, name))
	require.NoError(t, err)
	return data
}

func sharedPath(t *testing.T, name string) string {
	t.Helper()
	dir, err := os.Getwd()
	require.NoError(t, err)
	for {
		path := filepath.Join(dir, "shared", "contracts", filepath.FromSlash(name))
		if _, err := os.Stat(path); err == nil {
			return path
		} else if !errors.Is(err, fs.ErrNotExist) {
			require.NoError(t, err)
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Skipf("providers' contracts are not here: no folder shared/contracts with %s beside the project or above", name)
		}
		dir = parent
	}
}

// Class is a row of the table that all channels are held to.
type Class struct {
	When    map[string]any
	Class   string
	Outcome channels.Outcome // of Class, where it is one
}

// Text gives a part of When as text; "" where it isn't there.
func (c Class) Text(key string) string {
	text, _ := c.When[key].(string)
	return text
}

// Status gives the HTTP status of When; 0 where it is none.
func (c Class) Status() int {
	number, _ := c.When["http"].(float64)
	return int(number)
}

var outcomes = map[string]channels.Outcome{
	"accepted": channels.Accepted, "later": channels.Later, "unknown": channels.Unknown, "rejected": channels.Rejected,
	"gone": channels.Gone, "opted_out": channels.OptedOut, "broken": channels.Broken,
}

// Classes gives the rows for what a channel's provider answers.
func Classes(t *testing.T, channel string) []Class {
	t.Helper()
	rows := EventClasses(t, channel)
	for _, row := range rows {
		require.Contains(t, outcomes, row.Class)
	}
	return rows
}

// EventClasses gives the rows for what a provider tells later, some of whose classes
// are no outcomes.
func EventClasses(t *testing.T, channel string) []Class {
	t.Helper()
	var table struct {
		Rows []struct {
			Channel, Class string
			When           map[string]any
		}
	}
	require.NoError(t, json.Unmarshal(Shared(t, "error_classes.json"), &table))
	var rows []Class
	for _, row := range table.Rows {
		if row.Channel == channel {
			rows = append(rows, Class{row.When, row.Class, outcomes[row.Class]})
		}
	}
	require.NotEmpty(t, rows)
	return rows
}

// Described holds requests to a provider's own description (OpenAPI), a file of the
// shared contracts; newer are fields of bodies, each an object, that the provider has
// documented since.
func Described(t *testing.T, description string, newer ...string) func(*http.Request, []byte) {
	t.Helper()
	loader := openapi3.NewLoader()
	doc, err := loader.LoadFromFile(sharedPath(t, description))
	require.NoError(t, err)
	for _, item := range doc.Paths.Map() {
		for _, operation := range item.Operations() {
			if operation.RequestBody != nil {
				for _, media := range operation.RequestBody.Value.Content {
					for _, field := range newer {
						media.Schema.Value.Properties[field] = openapi3.NewSchemaRef("", openapi3.NewObjectSchema())
					}
					strict(media.Schema, map[*openapi3.Schema]bool{})
				}
			}
		}
	}
	// Examples in descriptions are not always as they say.
	require.NoError(t, doc.Validate(loader.Context, openapi3.DisableExamplesValidation()))
	router, err := legacy.NewRouter(doc, openapi3.DisableExamplesValidation())
	require.NoError(t, err)
	return func(r *http.Request, body []byte) {
		t.Helper()
		target := doc.Servers[0].URL + r.URL.RequestURI()
		req, err := http.NewRequestWithContext(t.Context(), r.Method, target, bytes.NewReader(body))
		require.NoError(t, err)
		req.Header = r.Header
		route, parameters, err := router.FindRoute(req)
		require.NoError(t, err, target)
		require.NoError(t, openapi3filter.ValidateRequest(t.Context(), &openapi3filter.RequestValidationInput{
			Request: req, Route: route, PathParams: parameters,
			Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc},
		}), "%s", body)
	}
}

// RunContract sends messages of all sorts, and holds each request to the
// provider's description, as Described does.
func RunContract(t *testing.T, h HTTP, description string, newer ...string) {
	described := Described(t, description, newer...)
	p := h.serve(t)
	s, c := p.subject(), p.channel(t)
	messages := []channels.Message{s.message()}
	for _, text := range hostile {
		for _, m := range s.with(text) {
			messages = append(messages, m)
		}
	}
	bare := s.message()
	bare.Name, bare.Subject, bare.OptOut, bare.Event = "", "", "", channels.Event{}
	for _, m := range append(messages, bare) {
		if c.Check(m) == nil {
			require.Equal(t, channels.Accepted, c.Send(t.Context(), m).Outcome)
		}
	}
	require.Greater(t, len(p.all()), 100)
	for _, g := range p.all() {
		described(g.request, g.body)
	}
}

// strict refuses fields that a description doesn't know: most are slips.
func strict(ref *openapi3.SchemaRef, seen map[*openapi3.Schema]bool) {
	if ref == nil || ref.Value == nil || seen[ref.Value] {
		return
	}
	s := ref.Value
	seen[s] = true
	no := false
	if len(s.Properties) > 0 && s.AdditionalProperties.Has == nil && s.AdditionalProperties.Schema == nil {
		s.AdditionalProperties.Has = &no
	}
	for _, property := range s.Properties {
		strict(property, seen)
	}
	strict(s.Items, seen)
}
