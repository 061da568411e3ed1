package httpapi_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"reflect"
	"testing"
	"unicode/utf8"

	"github.com/belltower/belltower/httpapi"
)

// What is read as a token is written as one that is read as the same.
func FuzzConsistencyToken(f *testing.F) {
	for _, s := range []string{"", "x", "AAAA", "MDow", "MS8y", "v1-1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := httpapi.DecodeToken(s)
		if err != nil {
			return
		}
		if again, err := httpapi.DecodeToken(httpapi.EncodeToken(p)); err != nil || again != p {
			t.Fatalf("%q was read as %v, and that as %v, %v", s, p, again, err)
		}
	})
}

// Headers that clients make up are read or refused, and what is read is in bounds.
func FuzzHeaders(f *testing.F) {
	for _, s := range []string{`"a"`, `"a\"b"`, `bare key`, `*`, `"1", W/"2"`, `"`, `"é"`, `,`, `"1"  ,"1"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		key, given, err := httpapi.IdempotencyKey(http.Header{"Idempotency-Key": {s}})
		if err == nil && (!given || key == "" || len(key) > 4*255) {
			t.Fatalf("%q was read as %q (%t)", s, key, given)
		}
		r := &http.Request{Header: http.Header{"If-Match": {s}, "If-None-Match": {s}}}
		match, err := httpapi.IfMatch(r)
		if (match == nil) == (err == nil) {
			t.Fatalf("%q was read as %v, %v", s, match, err)
		}
		httpapi.NoneMatch(r, 1)
	})
}

// A body is read as encoding/json reads it, and written canonically as it would write it.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{
		`{}`, ` { "a" : [ 1 , -2.50E+1 , true , false , null , "x" ] } `, `{"a":{"b":{"c":[[],{}]}}}`, `{"a":"\u00e9\ud83d\ude00\ud83d\u0041\ud83d \"\\\/\b\f\n\r\t"}`,
		`{"<&>":"\u2028","é":""}`, `{"a":1,"a":2}`, `{"a":01}`, `{"a":"\ud83d\n"}`, `{"a":"\x"}`, `{"a":}`, `{"a":1,}`, `"a"`, `1e5`, `nul`, "{\"a\":\"\u007f\"}", `{"a":-0.0}`, "{} ",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := httpapi.ParseJSON(data)
		var want any
		d := json.NewDecoder(bytes.NewReader(data))
		d.UseNumber()
		if wrong := d.Decode(&want); wrong != nil || !json.Valid(data) || !utf8.Valid(data) {
			if err == nil {
				t.Fatalf("%q was read as %v", data, got)
			}
			return
		}
		if err != nil {
			return // fields that are there twice, or nested too deep: see FuzzBody
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%q was read as %#v, not as %#v", data, got, want)
		}
		written, err := json.Marshal(httpapi.CanonicalNumbers(want))
		if err != nil {
			t.Fatal(err)
		}
		if canonical := httpapi.AppendCanonical(got); !bytes.Equal(canonical, written) {
			t.Fatalf("%q is canonically %q, not %q", data, canonical, written)
		}
	})
}

// A body that is taken is canonical: what is equal is equal for an idempotency key.
func FuzzBody(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":1.0e2,"b":[null,true,{"c":"\u00e9"}]}`, `{"a":1,"a":2}`, `[1]`, `{"a":1e999999999}`, `{"a":-0}`, "{\"a\":\"\xff\"}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		canonical, err := httpapi.CanonicalBody(data)
		if err != nil {
			return
		}
		again, err := httpapi.CanonicalBody([]byte(canonical))
		if err != nil || again != canonical {
			t.Fatalf("%q is canonically %q, and that %q, %v", data, canonical, again, err)
		}
	})
}

// Queries are answered or refused, and never with an error of ours.
func FuzzQuery(f *testing.F) {
	a := newAPI(f)
	a.event(nil)
	for _, s := range []string{"status=UPCOMING", "q=%E2%80%AE", "from=2031-01-01T00:00:00Z&to=x", "limit=0", "cursor=AAAA", "limit=9999999999999999999", "tag=a&tag=b", "q=%00", "user_id="} {
		f.Add("/v1/events", s)
		f.Add("/v1/notifications", s)
	}
	f.Fuzz(func(t *testing.T, path, query string) {
		if path != "/v1/events" && path != "/v1/notifications" && path != "/v1/events/x/history" {
			return
		}
		if _, err := url.ParseQuery(query); err != nil || len(query) > 2000 {
			return
		}
		r := request{method: "GET", path: path + "?" + (&url.URL{RawQuery: query}).Query().Encode(), wrong: true}
		within := *a
		within.t = t
		answer, err := within.try(r)
		if err != nil {
			t.Fatal(err)
		}
		if answer.status >= 500 {
			t.Fatalf("%s: %d %s", r.path, answer.status, answer.body)
		}
	})
}

// A history's cursor is a revision of that event or refused.
func FuzzHistoryCursor(f *testing.F) {
	f.Add("ZTow", "e")
	f.Add("", "")
	f.Add("Oi0x", "")
	f.Fuzz(func(t *testing.T, cursor, event string) {
		if revision, err := httpapi.HistoryCursor(cursor, event); err == nil && revision < 0 {
			t.Fatalf("%q was read as %d", cursor, revision)
		}
	})
}
