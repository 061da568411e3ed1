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

// docsFiles are the files that the page asks for, and no others, with their
// media types: what a machine thinks of names ending in .js is not relied on.
var docsFiles = map[string]string{
	"swagger-ui.css":                  "text/css; charset=utf-8",
	"swagger-ui-bundle.js":            "text/javascript; charset=utf-8",
	"swagger-ui-standalone-preset.js": "text/javascript; charset=utf-8",
	"favicon-16x16.png":               "image/png",
	"favicon-32x32.png":               "image/png",
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
	media, known := docsFiles[c.vars["file"]]
	if !known {
		return nil, errNoRoute
	}
	s.docs.files.ServeHTTP(typed{c.w, media}, c.Request)
	return nil, nil
}

// page keeps what a handler writes.
type page struct{ bytes.Buffer }

func (*page) Header() http.Header { return http.Header{} }
func (*page) WriteHeader(int)     {}

// typed is the writer of an answer with a media type that nobody changes.
type typed struct {
	http.ResponseWriter
	media string
}

func (w typed) WriteHeader(status int) {
	w.Header().Set("Content-Type", w.media)
	w.ResponseWriter.WriteHeader(status)
}

func (w typed) Write(data []byte) (int, error) {
	w.Header().Set("Content-Type", w.media) // no more than a header that went already
	return w.ResponseWriter.Write(data)
}
