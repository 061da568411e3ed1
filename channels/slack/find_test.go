package slack_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/outgoing"
	"github.com/belltower/belltower/channels/slack"
)

// history answers as a channel's history does: the newest first, between two times,
// so many a page, metadata only where it is asked for.
func history(t *testing.T, all []map[string]any) *httptest.Server {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		limit, err := strconv.Atoi(q.Get("limit"))
		if r.Method+r.URL.Path != "GET/conversations.history" || r.Header.Get("Authorization") != "Bearer "+token || q.Get("channel") != inChannel || err != nil || limit > 15 || q.Get("include_all_metadata") != "true" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		var within []map[string]any
		for _, m := range all {
			if ts := m["ts"].(string); ts >= q.Get("oldest") && ts <= q.Get("latest") {
				within = append(within, m)
			}
		}
		from := 0
		fmt.Sscan(q.Get("cursor"), &from)
		page := within[from:min(from+limit, len(within))]
		answer := map[string]any{"ok": true, "messages": append([]map[string]any{}, page...), "has_more": from+limit < len(within)}
		if from+limit < len(within) {
			answer["response_metadata"] = map[string]any{"next_cursor": fmt.Sprint(from + limit)}
		}
		json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(server.Close)
	return server
}

func findable(t *testing.T, url string, now time.Time) slack.Findable {
	t.Helper()
	c, err := slack.NewApp(slack.AppOptions{URL: url, Token: token, Channel: inChannel, Client: onThisMachine(t), Now: func() time.Time { return now }})
	require.NoError(t, err)
	f, ok := c.Findable()
	require.True(t, ok)
	return f
}

// An unknown outcome is settled by what stands in the channel.
func TestFind(t *testing.T) {
	began := time.Date(2031, 5, 6, 16, 0, 0, 0, time.UTC)
	at := func(d time.Duration, kind, id string) map[string]any {
		m := map[string]any{"ts": fmt.Sprintf("%d.000247", began.Add(d).Unix()), "text": "Choir at six", "user": "U1"}
		if kind != "" {
			m["metadata"] = map[string]any{"event_type": kind, "event_payload": map[string]any{"notification_id": id}}
		}
		return m
	}
	const ours = "belltower_notification"
	mine := at(time.Second, ours, "n1")
	var many []map[string]any
	for range 40 {
		many = append(many, at(2*time.Second, "", ""))
	}
	for name, row := range map[string]struct {
		list  []map[string]any
		after time.Duration
		want  channels.Outcome
	}{
		"it is there":          {[]map[string]any{at(2*time.Second, "", ""), mine}, time.Second, channels.Accepted},
		"on a further page":    {append(append([]map[string]any{}, many...), mine), time.Hour, channels.Accepted},
		"a clock behind ours":  {[]map[string]any{at(-30*time.Second, ours, "n1")}, time.Hour, channels.Accepted},
		"it isn't yet":         {many, time.Second, channels.Unknown},
		"it isn't":             {many, time.Hour, channels.Later},
		"nothing is":           {nil, time.Hour, channels.Later},
		"another notification": {[]map[string]any{at(time.Second, ours, "n2")}, time.Hour, channels.Later},
		"another app's":        {[]map[string]any{at(time.Second, "task_created", "n1")}, time.Hour, channels.Later},
		"one of long before":   {[]map[string]any{at(-time.Hour, ours, "n1")}, time.Hour, channels.Later},
	} {
		t.Run(name, func(t *testing.T) {
			var finder channels.Finder = findable(t, history(t, row.list).URL, began.Add(row.after))
			result := finder.Find(t.Context(), channels.Message{ID: "n1", Channel: "slack", Attempt: 1}, began)
			require.Equal(t, row.want, result.Outcome, result.Detail)
			require.NotEmpty(t, result.Detail)
			require.Equal(t, row.want == channels.Accepted, result.Ref != "")
			require.Equal(t, name == "it isn't yet", result.NotBefore.After(began))
		})
	}
}

// What can't be asked stays unknown, and is held.
func TestFindCanNotAsk(t *testing.T) {
	m := channels.Message{ID: "n1", Channel: "slack", Attempt: 1}
	began := time.Now().Add(-time.Hour)
	for answer, code := range map[string]string{
		`200 {"ok":false,"error":"missing_scope"}`: "missing_scope", `200 {"ok":false,"error":"not_in_channel"}`: "not_in_channel", `429 {"ok":false,"error":"ratelimited"}`: "ratelimited",
		`500 {}`: "", `302 `: "", `200 <html>`: "", `200 {"ok":true}`: "history", `200 {"ok":true,"messages":[`: "", `200 {"ok":true,"messages":[],"has_more":true}`: "history",
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			var status int
			fmt.Sscanf(answer, "%d", &status)
			w.WriteHeader(status)
			fmt.Fprint(w, answer[4:])
		}))
		defer server.Close()
		result := findable(t, server.URL, time.Now()).Find(t.Context(), m, began)
		require.Equal(t, channels.Unknown, result.Outcome, answer)
		require.Contains(t, result.Code, code, answer)
		require.NotContains(t, result.Detail, "s3cr3t")
	}
	closed := httptest.NewServer(nil)
	closed.Close()
	require.Equal(t, channels.Unknown, findable(t, closed.URL, time.Now()).Find(t.Context(), m, began).Outcome)
}

// A history without an end is not read for ever.
func TestFindEnds(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		fmt.Fprint(w, `{"ok":true,"messages":[],"has_more":true,"response_metadata":{"next_cursor":"x"}}`)
	}))
	defer server.Close()
	require.Equal(t, channels.Unknown, findable(t, server.URL, time.Now()).Find(t.Context(), channels.Message{ID: "n1"}, time.Now().Add(-time.Hour)).Outcome)
	require.LessOrEqual(t, asked, 20)
}

// A name can't be asked for.
func TestChannelsByNameAreNotFindable(t *testing.T) {
	c, err := slack.NewApp(slack.AppOptions{URL: slack.APIURL, Token: token, Channel: "#bells", Client: outgoing.New(outgoing.Options{})})
	require.NoError(t, err)
	_, ok := c.Findable()
	require.False(t, ok)
}
