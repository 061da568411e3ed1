package torture

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestBitFlips flips a bit in a file of a data folder, again and again, and
// starts the service on it: it refuses the file by name, or answers a request
// with an error, or the bit has no meaning; what is derived it builds anew. What
// it never does is to answer something else than before.
func TestBitFlips(t *testing.T) {
	beside(t)
	budget(t, 2*time.Minute)
	seed := seeded(t)
	rng := rand.New(rand.NewPCG(seed, 0))
	folder := filepath.Join(t.TempDir(), "data")
	v := newProvider(t).serve(t, folder)
	settled(t, v)
	before := everything(t, v)
	v.swept(t, folder)
	v.finish(t)
	for _, file := range []string{"events.db", "streams.db", "keys.db", "read.db", "planner.db", "snapshots.db"} {
		t.Run(file, func(t *testing.T) {
			outcomes := map[string]int{}
			for range sized(t, 3, 25, 1000) {
				outcomes[flip(t, rng, folder, file, before)]++
			}
			t.Log(outcomes)
		})
	}
}

// settled fills a service with what stays as it is.
func settled(t *testing.T, v *service) {
	start := time.Now().Add(far)
	for i := range 12 {
		event := v.does(t, 201, "POST", "/v1/events", object{
			"title": fmt.Sprint("Event ", i), "description": strings.Repeat("Rounds and call changes. ", 10),
			"start_time": at(start), "end_time": at(start.Add(time.Hour)), "tags": []string{"bells"},
		})
		path := "/v1/events/" + event.text("id")
		for n := range 8 {
			v.does(t, 201, "POST", path+"/participants", object{
				"user_id": fmt.Sprint("user-", n), "name": fmt.Sprint("Name ", n), "email": fmt.Sprintf("n%d@example.org", n),
			})
		}
		v.does(t, 201, "POST", path+"/reminders", object{"minutes_before": 30})
		v.does(t, 202, "POST", path+"/announcements", object{"message": "Hear, hear"})
	}
	until(t, v, "all is sent and planned", func() bool {
		status := v.does(t, 200, "GET", "/v1/stats", nil).inner("notifications").inner("by_status")
		return status.number("SENT") == 12*8 && status.number("PENDING") == 12*8
	})
}

// everything asks for all that there is; what was answered with an error is the error's code.
func everything(t *testing.T, v *service) map[string]string {
	all := map[string]string{}
	ask := func(path string) object {
		got, err := v.api.ask(t.Context(), request{method: "GET", path: path})
		require.NoError(t, err, "%s\n%s", path, v.logged())
		if got.status >= 500 {
			require.Equal(t, 503, got.status, "%s: %v\n%s", path, got.body, last(v.logged()))
			require.NotEmpty(t, got.header.Get("Retry-After"), path)
			all[path] = "error"
			return nil
		}
		delete(got.body, "next_cursor")
		said, err := json.Marshal(got.body)
		require.NoError(t, err)
		all[path] = fmt.Sprint(got.status, string(said))
		return got.body
	}
	for _, event := range ask("/v1/events?limit=200").items() {
		path := "/v1/events/" + event.text("id")
		for _, more := range []string{"", "/participants?limit=200", "/reminders", "/notifications?limit=200", "/history"} {
			ask(path + more)
		}
	}
	for _, n := range ask("/v1/notifications?limit=40").items() {
		ask("/v1/notifications/" + n.text("id"))
	}
	ask("/v1/events?q=event")
	ask("/v1/events?tag=bells")
	return all
}

// flip gives what became of it.
func flip(t *testing.T, rng *rand.Rand, folder, file string, before map[string]string) (outcome string) {
	damaged := filepath.Join(t.TempDir(), "data")
	require.NoError(t, os.CopyFS(damaged, os.DirFS(folder)))
	path := filepath.Join(damaged, file)
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	bit := rng.IntN(len(content) * 8)
	content[bit/8] ^= 1 << (bit % 8)
	require.NoError(t, os.WriteFile(path, content, 0o600))
	what := fmt.Sprintf("bit %d of byte %d of %s", bit%8, bit/8, file)

	v := newProvider(t).launch(t, launched{folder: damaged})
	if !v.up(t) {
		require.Equal(t, 1, v.exit(t), what)
		require.Contains(t, v.logged(), file, "%s: it is refused by name", what)
		require.NotContains(t, v.logged(), "goroutine ", what)
		return "refused"
	}
	defer v.kill(t)
	deadline := time.Now().Add(10 * time.Second)
	for {
		got, err := v.api.ask(t.Context(), request{method: "GET", path: "/readyz"})
		require.NoError(t, err, v.logged())
		if got.status == 200 || time.Now().After(deadline) {
			break
		}
		<-time.After(20 * time.Millisecond)
	}
	after := everything(t, v)
	errors := 0
	for _, said := range after {
		if said == "error" {
			errors++
		}
	}
	var wrong []string
	for path, said := range before {
		if have, ok := after[path]; ok && have != said && have != "error" {
			wrong = append(wrong, fmt.Sprintf("%s: %s\n   before: %s", path, have, said))
		} else if !ok && errors == 0 {
			wrong = append(wrong, path+" is not there")
		}
	}
	slices.Sort(wrong)
	require.Empty(t, first(wrong), "%s: an answer is another one than before", what)
	require.Empty(t, v.out.messages(t), "%s: nothing is sent", what)
	switch {
	case errors > 0:
		return "answered with errors"
	case strings.Contains(v.logged(), "anew"):
		return "built anew"
	}
	require.NotContains(t, []string{"read.db", "planner.db"}, file, "%s: it is built anew", what)
	return "no difference"
}
