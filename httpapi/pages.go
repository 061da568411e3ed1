package httpapi

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"html/template"

	"github.com/belltower/belltower/commands"
)

// participant says for whom it is done what participants do by their links.
func (c *call) participant() commands.Caller {
	return commands.Caller{Actor: "participant", CorrelationID: c.id, CausationID: c.id}
}

const pageStyle = `body{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:4rem auto;padding:0 1rem}button{font:inherit;padding:.5rem 1rem;margin:0 .5rem .5rem 0}[hidden]{display:none}`

// pageHead begins each page that participants see; a title follows.
const pageHead = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<style>` + pageStyle + `</style>`

// pagePolicy lets a page do nothing but look as it should.
var pagePolicy = func() string {
	sum := sha256.Sum256([]byte(pageStyle))
	return "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; "
}()

// writePage shows a page; may is what its policy allows besides.
func writePage(c *call, t *template.Template, data any, may string) error {
	var b bytes.Buffer
	if err := t.Execute(&b, data); err != nil {
		return err
	}
	header := c.w.Header()
	header.Set("Content-Security-Policy", pagePolicy+may)
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Cache-Control", "no-store") // the link is a secret, and what it shows changes
	_, _ = c.w.Write(b.Bytes())             // who doesn't listen can't be told
	return nil
}
