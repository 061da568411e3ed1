package httpapi_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/belltower/belltower/events"
)

// requestsEach is how many requests one check makes: -rapid.checks says how many checks.
const requestsEach = 5

// generator makes requests from the document: valid ones, and valid ones that
// something was done to.
type generator struct {
	*api
	operations []operation
	ids        map[string][]string // of what there is, by kind
	statuses   map[int]int
	valid      int
}

type operation struct {
	method, path string
	*openapi3.Operation
	shared openapi3.Parameters
}

func newGenerator(t *testing.T) *generator {
	_, err := document()
	require.NoError(t, err)
	g := &generator{api: newAPI(t), ids: map[string][]string{}, statuses: map[int]int{}}
	for _, path := range slices.Sorted(maps.Keys(strict.Paths.Map())) {
		item := strict.Paths.Value(path)
		for _, method := range slices.Sorted(maps.Keys(item.Operations())) {
			if path != "/v1/stream" { // it never ends
				g.operations = append(g.operations, operation{method, path, item.Operations()[method], item.Parameters})
			}
		}
	}
	// What is drawn is drawn more often from the front: writes come first, deletions last.
	order := []string{"POST", "PUT", "PATCH", "GET", "DELETE"}
	slices.SortStableFunc(g.operations, func(a, b operation) int { return slices.Index(order, a.method) - slices.Index(order, b.method) })
	event := g.event(nil)
	g.remember("events", event)
	g.remember("participants", g.join(event, "ann"))
	g.remember("notifications", g.plan(events.NotificationScheduled{EventID: event, ScheduledTime: start}))
	return g
}

func (g *generator) remember(kind, id string) {
	g.ids[kind] = append(g.ids[kind], id)
	if len(g.ids[kind]) > 20 {
		g.ids[kind] = g.ids[kind][1:]
	}
}

// TestGeneratedRequests: whatever is asked, no answer says that something is
// wrong here, and each is as the document says.
func TestGeneratedRequests(t *testing.T) {
	g := newGenerator(t)
	rapid.Check(t, func(t *rapid.T) {
		for range requestsEach {
			g.request(t)
		}
	})
	all := 0
	for _, n := range g.statuses {
		all += n
	}
	t.Logf("%d requests, %d of them valid: %v", all, g.valid, g.statuses)
	if all >= 100*requestsEach {
		for _, status := range []int{200, 201, 400, 404, 422} {
			require.Positive(t, g.statuses[status], "no answer was %d", status)
		}
		require.Greater(t, g.valid, all/3, "too few requests are valid")
	}
}

func (g *generator) request(t *rapid.T) {
	op := rapid.SampledFrom(g.operations).Draw(t, "operation")
	r := request{method: op.method, header: map[string]string{}}
	path, query := op.path, url.Values{}
	for _, p := range append(slices.Clone(op.shared), op.Parameters...) {
		switch p.Value.In {
		case openapi3.ParameterInPath:
			path = strings.ReplaceAll(path, "{"+p.Value.Name+"}", url.PathEscape(g.pathValue(t, op.path, p.Value.Name)))
		case openapi3.ParameterInQuery:
			if rapid.IntRange(0, 3).Draw(t, "given") == 0 {
				query.Set(p.Value.Name, g.parameter(t, p.Value))
			}
		case openapi3.ParameterInHeader:
			if rapid.IntRange(0, 3).Draw(t, "given") == 0 {
				r.header[p.Value.Name] = g.headerValue(t, p.Value.Name)
			}
		}
	}
	if op.RequestBody != nil {
		media := op.RequestBody.Value.Content
		kind := rapid.SampledFrom(slices.Sorted(maps.Keys(media))).Draw(t, "media")
		r.header["Content-Type"] = kind
		r.body = instance(t, "", media[kind].Schema.Value)
	}
	for range rapid.IntRange(0, 2).Draw(t, "mutations") {
		g.mutate(t, &r, query)
	}
	r.path = path
	if len(query) > 0 {
		r.path += "?" + query.Encode()
	}
	built, err := g.build(r)
	if err != nil {
		return // no request that can be sent
	}
	if r.wrong = validateRequest(built) != nil; !r.wrong {
		g.valid++
	}
	answer, err := g.patiently(r)
	if err != nil {
		t.Fatalf("%v", err)
	}
	g.statuses[answer.status]++
	if answer.status >= 500 {
		t.Fatalf("%s %s %v %v: %d %s", r.method, r.path, r.header, r.body, answer.status, answer.body)
	}
	if answer.status == http.StatusCreated {
		var made struct{ ID string }
		require.NoError(t, json.Unmarshal(answer.body, &made))
		g.remember(op.path[strings.LastIndex(op.path, "/")+1:], made.ID)
	}
}

func (g *generator) pathValue(t *rapid.T, path, name string) string {
	kind := strings.Split(path, "/")[2]
	switch name {
	case "file":
		return rapid.SampledFrom([]string{"swagger-ui.css", "swagger-ui-bundle.js", "nothing.js", "..", "a/b"}).Draw(t, "file")
	case "rid":
		kind = "reminders"
	}
	choices := append([]string{unknownID(), "x", "", "00000000-0000-0000-0000-000000000000"}, g.ids[kind]...)
	choices = append(choices, g.ids[kind]...)
	return choices[rapid.IntRange(0, len(choices)-1).Draw(t, "id")]
}

func (g *generator) parameter(t *rapid.T, p *openapi3.Parameter) string {
	if p.Name == "cursor" {
		return rapid.SampledFrom([]string{"", "x", "bm90aGluZw", "AAAA", "e30"}).Draw(t, "cursor")
	}
	switch v := instance(t, p.Name, p.Schema.Value).(type) {
	case string:
		return v
	default:
		return fmt.Sprint(v)
	}
}

func (g *generator) headerValue(t *rapid.T, name string) string {
	switch strings.ToLower(name) {
	case "idempotency-key":
		return rapid.SampledFrom([]string{`"a"`, `"b"`, `"c c"`, "bare", `""`, strings.Repeat("k", 300)}).Draw(t, "key")
	case "if-match", "if-none-match":
		return rapid.SampledFrom([]string{`*`, `"0"`, `"1"`, `"3"`, `W/"1"`, `"1", "2"`, `"`, `"99999999999999999999"`}).Draw(t, "tag")
	case "consistency-token":
		return rapid.SampledFrom([]string{g.latest(), "x", "AAAA", "MDow"}).Draw(t, "token")
	}
	return rapid.StringMatching(`[!-~]{1,40}`).Draw(t, name)
}

// mutate does something to a request that makes it another.
func (g *generator) mutate(t *rapid.T, r *request, query url.Values) {
	body, is := r.body.(object)
	switch what := rapid.IntRange(0, 7).Draw(t, "mutation"); {
	case what == 0 && is && len(body) > 0: // a field is missing
		delete(body, rapid.SampledFrom(slices.Sorted(maps.Keys(body))).Draw(t, "field"))
	case what == 1 && is && len(body) > 0: // a field holds something else
		body[rapid.SampledFrom(slices.Sorted(maps.Keys(body))).Draw(t, "field")] = values.Draw(t, "value")
	case what == 2 && is: // one too many
		body[rapid.StringMatching(`[a-z_]{1,12}`).Draw(t, "field")] = values.Draw(t, "value")
	case what == 3 && is: // cut short
		data, _ := json.Marshal(body)
		r.body = string(data[:rapid.IntRange(0, len(data)).Draw(t, "end")])
	case what == 4 && r.body != nil:
		r.header["Content-Type"] = rapid.SampledFrom([]string{"text/plain", "application/json; charset=latin1", "application/xml", "a", "application/json;;"}).Draw(t, "media")
	case what == 5:
		query.Add(rapid.StringMatching(`[a-z_]{1,8}`).Draw(t, "parameter"), rapid.String().Draw(t, "value"))
	case what == 6 && len(query) > 0:
		query.Set(rapid.SampledFrom(slices.Sorted(maps.Keys(query))).Draw(t, "parameter"), rapid.String().Draw(t, "value"))
	default:
		r.header["If-Match"] = rapid.StringMatching(`[ -~]{1,20}`).Draw(t, "If-Match")
	}
}

// samples are values that mean something, by the name of their field.
var samples = map[string][]any{
	"email": {"ann@example.org", "bob@example.org", "eve@example.org", "zoë@example.org"}, "phone": {"+4915112345678", "+43 1 234567", "0151"},
	"channels": {"email", "sms", "push", "pigeon"}, "channel": {"email", "sms"}, "time_zone": {"Europe/Vienna", "UTC", "Mars/Olympus"}, "locale": {"de-AT", "en"},
	"start_time": {"2031-05-06T18:00:00Z", "2031-06-01T08:00:00+02:00"}, "end_time": {"2031-06-02T18:00:00Z"}, "send_at": {"2031-05-01T00:00:00Z"},
	"message": {"Hear, hear", "{{ event.title }}", "{{ nobody }}", "{% if %}"}, "user_id": {"ann", "bob", "eve"}, "tag": {"x"}, "tags": {"x", "y"},
}

// instance draws what a schema allows. Samples may be against rules that the
// document has in words only: then they are refused, rightly.
func instance(t *rapid.T, name string, s *openapi3.Schema) any {
	if len(s.Enum) > 0 {
		return rapid.SampledFrom(s.Enum).Draw(t, name)
	}
	types := s.Type.Slice()
	if slices.Contains(types, "null") && rapid.IntRange(0, 4).Draw(t, name+" null") == 0 {
		return nil
	}
	switch {
	case slices.Contains(types, "object"):
		made := object{}
		for _, field := range slices.Sorted(maps.Keys(s.Properties)) {
			if slices.Contains(s.Required, field) || rapid.IntRange(0, 2).Draw(t, field+" given") == 0 {
				made[field] = instance(t, field, s.Properties[field].Value)
			}
		}
		return made
	case slices.Contains(types, "array"):
		list := []any{}
		for range rapid.IntRange(0, 3).Draw(t, name+" items") {
			list = append(list, instance(t, name, s.Items.Value))
		}
		return list
	case slices.Contains(types, "integer"):
		least, most := 0, 100_000
		if s.Min != nil {
			least = int(*s.Min)
		}
		if s.Max != nil {
			most = int(*s.Max)
		}
		return rapid.IntRange(least, most).Draw(t, name)
	case slices.Contains(types, "boolean"):
		return rapid.Bool().Draw(t, name)
	}
	if known := samples[name]; known != nil && s.Pattern == "" {
		return rapid.SampledFrom(known).Draw(t, name)
	}
	switch {
	case s.Format == "date-time":
		return start.Add(time.Duration(rapid.IntRange(-100, 1000).Draw(t, name)) * time.Hour).Format(time.RFC3339)
	case s.Format == "uuid":
		return "6ad62f5e-2f3c-4b55-9d4b-6f1f0a3f2f55"
	case s.Pattern != "":
		return rapid.StringMatching(s.Pattern).Draw(t, name)
	}
	return rapid.StringMatching(`[A-Za-z][ -~]{0,30}`).Draw(t, name)
}
