package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/httpapi"
)

func TestTheDocumentIsValid(t *testing.T) {
	doc, err := openapi3.NewLoader().LoadFromData(httpapi.Document)
	require.NoError(t, err)
	require.Equal(t, "3.1.0", doc.OpenAPI)
	require.NoError(t, doc.Validate(t.Context(), openapi3.EnableExamplesValidation(), openapi3.EnableSchemaFormatValidation()))
}

func TestTheDocumentHasEveryRouteAndNoOther(t *testing.T) {
	doc, err := openapi3.NewLoader().LoadFromData(httpapi.Document)
	require.NoError(t, err)
	var described []string
	ids := map[string]bool{}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			described = append(described, method+" "+path)
			require.NotEmpty(t, op.Summary, "%s %s", method, path)
			require.False(t, ids[op.OperationID], op.OperationID)
			ids[op.OperationID] = true
		}
	}
	require.ElementsMatch(t, httpapi.Routes(newAPI(t).handler), described)
}

func TestTheDocumentSaysWhatIsOpen(t *testing.T) {
	doc, err := openapi3.NewLoader().LoadFromData(httpapi.Document)
	require.NoError(t, err)
	a := newAPI(t).as("")
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			r := a.do(request{method: method, path: fill(path), wrong: true})
			if op.Security != nil && len(*op.Security) == 0 {
				require.NotEqual(t, http.StatusUnauthorized, r.status, "%s %s", method, path)
				continue
			}
			r.refused(http.StatusUnauthorized, "unauthorized")
		}
	}
}

// fill puts something into a path's parameters.
func fill(path string) string {
	return strings.NewReplacer("{id}", unknownID(), "{rid}", unknownID(), "{file}", "swagger-ui.css", "{token}", optOutToken(unknownID(), unknownID()), "{name}", "read_models", "{provider}", "carrier").Replace(path)
}

// answered are the schemas of answers. Clients must put up with fields that are
// added later; the tests must not.
var answered = []string{
	"Event", "EventList", "Participant", "ParticipantList", "Reminder", "ReminderList", "Announcement", "NotificationSummary",
	"Notification", "NotificationList", "Attempt", "Fact", "History", "StreamedFact", "Processor", "SendDueResult", "Removed",
	"Suppression", "SuppressionList", "Stats", "Rebuilding", "Difference", "Health", "Fault", "Problem", "PushLink",
}

var document = sync.OnceValues(func() (routers.Router, error) {
	for _, media := range []string{"text/html", "text/css", "application/javascript", "text/javascript", "image/png", "text/event-stream"} {
		openapi3filter.RegisterBodyDecoder(media, openapi3filter.RegisteredBodyDecoder("text/plain"))
	}
	var doc map[string]any
	if err := json.Unmarshal(httpapi.Document, &doc); err != nil {
		return nil, err
	}
	schemas := doc["components"].(object)["schemas"].(object)
	for _, name := range answered {
		closed(schemas[name])
	}
	data, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	loaded, err := openapi3.NewLoader().LoadFromData(data)
	if err != nil {
		return nil, err
	}
	strict = loaded
	return gorillamux.NewRouter(loaded)
})

// strict is the document as loaded by document.
var strict *openapi3.T

// closed allows no members but those that are named.
func closed(schema any) {
	s, ok := schema.(object)
	if !ok {
		return
	}
	properties, ok := s["properties"].(object)
	if ok && s["additionalProperties"] == nil {
		s["additionalProperties"] = false
	}
	for _, p := range properties {
		closed(p)
	}
	closed(s["items"])
}

var filterOptions = &openapi3filter.Options{
	IncludeResponseStatus: true, MultiError: true, SkipSettingDefaults: true, RejectWhenRequestBodyNotSpecified: true,
	AuthenticationFunc: openapi3filter.NoopAuthenticationFunc,
}

// at gives the request as it is without the test server's address.
func at(req *http.Request) *http.Request {
	bare := req.Clone(context.Background())
	bare.URL.Scheme, bare.URL.Host, bare.Host = "", "", ""
	if req.GetBody != nil {
		bare.Body, _ = req.GetBody()
	}
	if req.Method == http.MethodHead {
		bare.Method = http.MethodGet
	}
	if bare.URL.Path == "/docs/" {
		bare.URL.Path = "/docs" // the same page
	}
	return bare
}

func validateRequest(req *http.Request) error {
	router, err := document()
	if err != nil {
		return err
	}
	bare := at(req)
	route, params, err := router.FindRoute(bare)
	if err != nil {
		return err
	}
	return openapi3filter.ValidateRequest(context.Background(), &openapi3filter.RequestValidationInput{
		Request: bare, PathParams: params, Route: route, Options: filterOptions,
	})
}

func validateResponse(req *http.Request, r *reply) error {
	router, err := document()
	if err != nil {
		return err
	}
	bare := at(req)
	route, params, err := router.FindRoute(bare)
	if err != nil {
		return validateUnrouted(r)
	}
	if len(r.header.Values("X-Request-Id")) != 1 {
		return errors.New("no X-Request-Id")
	}
	if req.Method == http.MethodHead {
		if len(r.body) > 0 {
			return errors.New("an answer to HEAD has a body")
		}
		if route.Operation.Responses.Status(r.status) == nil {
			return fmt.Errorf("status %d is not described", r.status)
		}
		return nil
	}
	if r.status == http.StatusNotModified || r.status == http.StatusNoContent {
		if len(r.body) > 0 {
			return fmt.Errorf("an answer with %d has a body", r.status)
		}
	}
	if r.status == http.StatusNotModified && route.Operation.Responses.Status(r.status) == nil {
		return errors.New("status 304 is not described")
	}
	return openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: bare, PathParams: params, Route: route, Options: filterOptions},
		Status:                 r.status, Header: r.header, Body: io.NopCloser(bytes.NewReader(r.body)), Options: filterOptions,
	})
}

// validateUnrouted checks what comes where no route is described.
func validateUnrouted(r *reply) error {
	if !slices.Contains([]int{http.StatusUnauthorized, http.StatusNotFound, http.StatusMethodNotAllowed}, r.status) {
		return fmt.Errorf("status %d where there is no route", r.status)
	}
	if len(r.body) == 0 {
		return nil // to HEAD
	}
	var p any
	if err := json.Unmarshal(r.body, &p); err != nil {
		return err
	}
	if r.header.Get("Content-Type") != "application/problem+json" {
		return errors.New("not a problem")
	}
	return strict.Components.Schemas["Problem"].Value.VisitJSON(p, openapi3.EnableJSONSchema2020())
}

func validateSchema(name string, value any) error {
	if _, err := document(); err != nil {
		return err
	}
	return strict.Components.Schemas[name].Value.VisitJSON(value, openapi3.EnableJSONSchema2020())
}
