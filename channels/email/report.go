package email

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"strings"
)

// report is what a mail says for programs: of deliveries (RFC 3464), or that
// somebody complained (RFC 5965). The zero report says nothing.
type report struct {
	kind   string   // of media
	blocks []fields // the first is of the message, the others are of a recipient each
}

// Kinds of media that reports have.
const (
	statusMedia       = "message/delivery-status"
	globalStatusMedia = "message/global-delivery-status" // RFC 6533
	complaintMedia    = "message/feedback-report"
)

// Bounds of what is read. Reports come from anywhere.
const (
	maxBounce = 256 << 10 // octets of a mail; what comes back of our own stands at its end
	maxStatus = 64 << 10  // octets of a report's part
	maxDepth  = 8
	maxParts  = 64
)

var errMIME = errors.New("its parts can't be told apart")

// readReport looks for the report in a mail. What is quoted in it (message/rfc822)
// is not looked into: it isn't about us.
func readReport(header fields, body []byte) (report, error) {
	w := &walk{left: maxParts}
	err := w.part(header.first("content-type"), header.first("content-transfer-encoding"), bytes.NewReader(body), 0)
	if w.found.kind != "" {
		return w.found, nil // whatever comes after it, which may be cut off
	}
	if err == nil && w.claimed {
		err = errors.New("it says that it has a report, and hasn't")
	}
	return report{}, err
}

type walk struct {
	left    int // parts that are yet read
	claimed bool
	found   report
}

func (w *walk) part(contentType, encoding string, body io.Reader, depth int) error {
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return nil // text, to all intents
	}
	switch {
	case media == statusMedia, media == globalStatusMedia, media == complaintMedia:
		return w.report(media, decoded(encoding, body))
	case !strings.HasPrefix(media, "multipart/"):
		return nil
	}
	kind := strings.ToLower(params["report-type"])
	w.claimed = w.claimed || media == "multipart/report" && (kind == "delivery-status" || kind == "feedback-report")
	if params["boundary"] == "" || depth == maxDepth {
		return errMIME
	}
	parts := multipart.NewReader(body, params["boundary"])
	for w.left > 0 && w.found.kind == "" {
		w.left--
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return errMIME
		}
		if err := w.part(part.Header.Get("Content-Type"), part.Header.Get("Content-Transfer-Encoding"), part, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) report(media string, body io.Reader) error {
	data, err := io.ReadAll(io.LimitReader(body, maxStatus))
	if len(data) == 0 && err != nil {
		return errMIME
	}
	for len(data) > 0 {
		var block fields
		if block, data = readFields(data); len(block) > 0 {
			w.found.blocks = append(w.found.blocks, block)
		}
	}
	w.found.kind = media
	return nil
}

// decoded undoes a transfer encoding. Reports should have none, and some have.
func decoded(encoding string, body io.Reader) io.Reader {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "quoted-printable":
		return quotedprintable.NewReader(body)
	case "base64":
		return base64.NewDecoder(base64.StdEncoding, body)
	}
	return body
}

// fields are those of a header, by their names in lower case.
type fields map[string][]string

func (f fields) first(name string) string {
	if values := f[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// readFields reads fields up to an empty line, and gives what stands behind that.
// Lines that are none are left out: many a server writes some.
func readFields(data []byte) (f fields, rest []byte) {
	f = fields{}
	last := ""
	for len(data) > 0 {
		var line []byte
		line, data, _ = bytes.Cut(data, []byte("\n"))
		text := strings.TrimRight(string(line), "\r \t")
		if text == "" {
			break
		}
		if (text[0] == ' ' || text[0] == '\t') && last != "" {
			values := f[last]
			values[len(values)-1] += " " + strings.TrimSpace(text)
			continue
		}
		name, value, ok := strings.Cut(text, ":")
		name = strings.ToLower(strings.TrimRight(name, " \t"))
		if last = ""; !ok || name == "" || strings.ContainsAny(name, " \t") {
			continue
		}
		f[name] = append(f[name], strings.TrimSpace(value))
		last = name
	}
	return f, data
}
