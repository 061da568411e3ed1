package httpapi

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"regexp"

	"github.com/swaggest/swgui"
	"github.com/swaggest/swgui/v5emb"
)

// docs renders the reference with Swagger UI, from files inside the binary.
type docs struct {
	page   []byte
	policy string
	files  http.Handler
}

// docsFiles are the files that the page asks for, and no others.
var docsFiles = map[string]bool{
	"swagger-ui.css": true, "swagger-ui-bundle.js": true, "swagger-ui-standalone-preset.js": true,
	"favicon-16x16.png": true, "favicon-32x32.png": true,
}

var inlineScript = regexp.MustCompile(`(?s)<script>(.*?)</script>`)

func newDocs() *docs {
	ui := v5emb.NewHandlerWithConfig(swgui.Config{
		Title: "Belltower", SwaggerJSON: "/openapi.json", BasePath: "/docs/",
		SettingsUI: map[string]string{
			"validatorUrl":             "null", // which would send the document elsewhere
			"tryItOutEnabled":          "true",
			"persistAuthorization":     "false",
			"defaultModelsExpandDepth": "1",
		},
	})
	var w page
	ui.ServeHTTP(&w, &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/docs/"}})
	d := &docs{page: bytes.TrimSpace(w.Bytes()), files: ui}
	// The page's own scripts are allowed by their digests, so that a script
	// which somebody brings in is not.
	scripts := ""
	for _, script := range inlineScript.FindAllSubmatch(d.page, -1) {
		sum := sha256.Sum256(script[1])
		scripts += " 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	d.policy = fmt.Sprintf("default-src 'none'; script-src 'self'%s; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "+
		"font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'", scripts)
	return d
}

func (s *server) getDocs(c *call) (*answer, error) {
	header := c.w.Header()
	header.Set("Content-Security-Policy", s.docs.policy)
	header.Set("Content-Type", "text/html; charset=utf-8")
	_, _ = c.w.Write(s.docs.page)
	return nil, nil
}

func (s *server) getDocsFile(c *call) (*answer, error) {
	if !docsFiles[c.vars["file"]] {
		return nil, errNoRoute
	}
	// What serves the files would answer other conditions with a length that
	// the answer doesn't have.
	r := c.Request.Clone(c.Context())
	for _, name := range []string{"If-Match", "If-Unmodified-Since", "If-Modified-Since", "Range", "If-Range"} {
		r.Header.Del(name)
	}
	s.docs.files.ServeHTTP(c.w, r)
	return nil, nil
}

// page keeps what a handler writes.
type page struct{ bytes.Buffer }

func (*page) Header() http.Header { return http.Header{} }
func (*page) WriteHeader(int)     {}
