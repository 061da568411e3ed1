package httpapi

import (
	"crypto/sha256"
	_ "embed" // openapi.json
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
)

//go:embed openapi.json
var openAPI []byte

var openAPITag = func() string {
	sum := sha256.Sum256(openAPI)
	return `"` + hex.EncodeToString(sum[:8]) + `"`
}()

// getOpenAPI serves the description of every route, which is kept by hand and
// held to the routes by tests.
func (s *server) getOpenAPI(c *call) (*answer, error) {
	header := c.w.Header()
	header.Set("ETag", openAPITag)
	if strings.Contains(strings.Join(c.Header.Values("If-None-Match"), ","), openAPITag) {
		c.w.WriteHeader(http.StatusNotModified)
		return nil, nil
	}
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(openAPI)))
	_, _ = c.w.Write(openAPI)
	return nil, nil
}
