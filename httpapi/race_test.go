package httpapi_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

const crowd = 64

func TestACrowdNeverExceedsTheCapacity(t *testing.T) {
	a := newAPI(t)
	a.loose = true
	const seats = 10
	event := a.event(object{"capacity": seats})
	waiting := map[float64]bool{}
	confirmed := 0
	var ids []string
	for _, r := range a.together(crowd, func(i int) request {
		return request{method: "POST", path: "/v1/events/" + event + "/participants", body: person(fmt.Sprintf("p%02d", i))}
	}) {
		p := r.is(http.StatusCreated)
		ids = append(ids, p["id"].(string))
		if p["status"] == "confirmed" {
			confirmed++
			continue
		}
		place := p["waitlist_position"].(float64)
		require.False(t, waiting[place], "two at place %v", place)
		waiting[place] = true
	}
	require.Equal(t, seats, confirmed)
	require.Len(t, waiting, crowd-seats)
	require.Len(t, a.items("/v1/events/"+event+"/participants?status=confirmed&limit=200"), seats)

	// All decline and accept, or go, at once.
	for range 2 {
		for _, r := range a.together(crowd, func(i int) request {
			if i%4 == 0 {
				return request{method: "PATCH", path: "/v1/events/" + event, body: object{"location": fmt.Sprint(i)}}
			}
			response := []string{"accepted", "declined", "tentative"}[i%3]
			return request{method: "POST", path: "/v1/participants/" + ids[i] + "/rsvp", body: object{"response": response}}
		}) {
			require.Equal(t, http.StatusOK, r.status, "%s", r.body)
		}
		require.Len(t, a.items("/v1/events/"+event+"/participants?status=confirmed&limit=200"), seats)
		line := a.items("/v1/events/" + event + "/participants?status=waitlisted&limit=200")
		for i, p := range line {
			require.EqualValues(t, i+1, p.(object)["waitlist_position"])
		}
	}
	a.patch("/v1/events/"+event, object{"capacity": seats - 1}).refused(http.StatusConflict, "capacity_below_confirmed")
}

func TestACrowdOfDuplicates(t *testing.T) {
	a := newAPI(t)
	a.loose = true
	event := a.event(nil)
	for name, twin := range map[string]func(i int) object{
		"users": func(i int) object { return with(person("ann"), object{"email": fmt.Sprintf("ann%d@example.org", i)}) },
		"addresses": func(i int) object {
			address := []byte("bob@example.org")
			address[i%3] -= 'a' - 'A'
			return with(person("bob"), object{"user_id": fmt.Sprint("bob", i), "email": string(address)})
		},
	} {
		t.Run(name, func(t *testing.T) {
			registered := 0
			for _, r := range a.together(crowd, func(i int) request {
				return request{method: "POST", path: "/v1/events/" + event + "/participants", body: twin(i)}
			}) {
				if r.status == http.StatusCreated {
					registered++
					continue
				}
				r.refused(http.StatusConflict, "duplicate_participant")
			}
			require.Equal(t, 1, registered)
		})
	}
}

func TestReadersSeeOnlyWhatWasTrueAtOnce(t *testing.T) {
	a := newAPI(t)
	a.loose = true
	event := a.event(object{"capacity": 3})
	a.get("/v1/events/" + event).is(http.StatusOK) // it is shown
	for _, r := range a.together(crowd, func(i int) request {
		switch i % 4 {
		case 0:
			return request{method: "GET", path: "/v1/events/" + event + "/participants?limit=200"}
		case 1:
			return request{method: "GET", path: "/v1/events/" + event}
		}
		return request{method: "POST", path: "/v1/events/" + event + "/participants", body: person(fmt.Sprint("p", i))}
	}) {
		require.Less(t, r.status, 300)
		if !strings.HasPrefix(string(r.body), `{"items"`) {
			continue
		}
		confirmed := 0
		for _, p := range r.is(http.StatusOK)["items"].([]any) {
			if p.(object)["status"] == "confirmed" {
				confirmed++
			}
		}
		require.LessOrEqual(t, confirmed, 3)
	}
}

// Whatever happens, the aggregate that answers writes and the read models that
// answer reads show the same.
func TestWritersAndReadersAgree(t *testing.T) {
	a := newAPI(t)
	rapid.Check(t, func(t *rapid.T) {
		event := a.event(object{"capacity": rapid.IntRange(1, 3).Draw(t, "capacity")})
		var ids []string
		one := func() string { return "/v1/participants/" + rapid.SampledFrom(ids).Draw(t, "participant") }
		step := func(method, path string, body any) {
			r, err := a.try(request{method: method, path: path, body: body})
			if err != nil {
				t.Fatal(err)
			}
			if r.status >= 500 {
				t.Fatalf("%s %s: %d %s", method, path, r.status, r.body)
			}
		}
		for i := range rapid.IntRange(1, 12).Draw(t, "steps") {
			what := rapid.IntRange(0, 9).Draw(t, "what")
			if len(ids) == 0 {
				what = 0
			}
			switch what {
			case 0, 1, 2:
				r, err := a.try(request{method: "POST", path: "/v1/events/" + event + "/participants", body: person(fmt.Sprint("p", i))})
				if err != nil {
					t.Fatal(err)
				}
				if r.status == http.StatusCreated {
					ids = append(ids, r.is(http.StatusCreated)["id"].(string))
				}
			case 3, 4, 5:
				step("POST", one()+"/rsvp", object{"response": rapid.SampledFrom([]string{"accepted", "declined", "tentative"}).Draw(t, "response")})
			case 6:
				step("DELETE", one(), nil)
			case 7:
				step("PATCH", one(), object{"name": fmt.Sprint("n", i), "channels": rapid.SampledFrom([][]string{nil, {"sms"}, {"sms", "email"}}).Draw(t, "channels")})
			case 8:
				step("PATCH", "/v1/events/"+event, object{"capacity": rapid.SampledFrom([]any{nil, 1, 2, 5}).Draw(t, "seats"), "tags": []string{fmt.Sprint(i)}})
			case 9:
				step("POST", "/v1/events/"+event+"/reminders", object{"minutes_before": i})
			}
			if rapid.IntRange(0, 3).Draw(t, "look") == 0 {
				a.agree(t, event, ids)
			}
		}
		a.agree(t, event, ids)
	})
}

// agree asks both sides for the event and its participants.
func (a *api) agree(t *rapid.T, event string, ids []string) {
	shown, folded := a.get("/v1/events/"+event), a.get("/v1/events/"+event+"?as_of=2031-12-31T00:00:00Z")
	if string(shown.body) != string(folded.body) || shown.header.Get("ETag") != folded.header.Get("ETag") {
		t.Fatalf("read\n%sbut folded\n%s", shown.body, folded.body)
	}
	for _, id := range ids {
		// A change of nothing answers from the aggregate, and is compared with what is read.
		if _, err := a.try(request{method: "PATCH", path: "/v1/participants/" + id, body: object{}}); err != nil {
			t.Fatal(err)
		}
	}
}
