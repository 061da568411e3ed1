package httpapi_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheReferenceIsSelfContained(t *testing.T) {
	a := newAPI(t).as("")
	page := a.peek("/docs")
	require.Equal(t, http.StatusOK, page.status)
	require.Equal(t, page.body, a.do(request{method: "GET", path: "/docs/", wrong: true}).body)
	require.Contains(t, string(page.body), `"/openapi.json"`)
	require.Contains(t, string(page.body), "validatorUrl: null")

	asked := regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(string(page.body), -1)
	require.Len(t, asked, 5)
	for _, file := range asked {
		require.Regexp(t, `^/docs/[a-z0-9.-]+$`, file[1], "nothing from elsewhere")
		r := a.peek(file[1])
		require.Equal(t, http.StatusOK, r.status)
		require.NotEmpty(t, r.body)
	}
	for _, file := range []string{"oauth2-redirect.html", "index.html", "x"} {
		a.do(request{method: "GET", path: "/docs/" + file, wrong: true}).refused(http.StatusNotFound, "not_found")
	}

	policy := page.header.Get("Content-Security-Policy")
	for _, script := range regexp.MustCompile(`(?s)<script>(.*?)</script>`).FindAllSubmatch(page.body, -1) {
		sum := sha256.Sum256(script[1])
		require.Contains(t, policy, "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'")
	}
	require.NotContains(t, regexp.MustCompile(`script-src [^;]*`).FindString(policy), "unsafe")
	require.NotContains(t, policy, "http")
}

func TestTheDocumentIsServed(t *testing.T) {
	a := newAPI(t).as("")
	r := a.peek("/openapi.json")
	require.Equal(t, "application/json", r.header.Get("Content-Type"))
	require.Equal(t, "3.1.0", r.is(http.StatusOK)["openapi"])
	require.True(t, json.Valid(r.body))
	require.Equal(t, http.StatusNotModified, a.do(request{method: "GET", path: "/openapi.json", header: map[string]string{"If-None-Match": r.header.Get("ETag")}}).status)
}

// Conditions that the document doesn't name leave a file whole.
func TestDocsFilesAreWhole(t *testing.T) {
	a := newAPI(t)
	whole := a.do(request{method: "GET", path: "/docs/swagger-ui.css"})
	for name, value := range map[string]string{
		"If-Match": `"x"`, "If-Unmodified-Since": "Mon, 01 Jan 2001 00:00:00 GMT", "If-Modified-Since": "Mon, 01 Jan 2040 00:00:00 GMT",
		"Range": "bytes=10-20", "If-Range": `"x"`,
	} {
		got, err := a.try(request{method: "GET", path: "/docs/swagger-ui.css", header: map[string]string{name: value}})
		require.NoError(t, err, name)
		require.Equal(t, 200, got.status, name)
		require.Equal(t, whole.body, got.body, name)
	}
}
