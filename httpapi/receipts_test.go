package httpapi_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
)

// carrier is a provider whose signature is a word, and whose body is what it tells.
type carrier struct{}

var errBroken = errors.New("broken")

func (carrier) Receive(r *http.Request, body []byte) ([]channels.Receipt, error) {
	switch r.Header.Get("X-Signature") {
	case "good":
	case "old":
		return nil, channels.ErrStale
	case "broken":
		return nil, errBroken
	default:
		return nil, fmt.Errorf("%w: said ann@example.org", channels.ErrForged)
	}
	var told []channels.Receipt
	if err := json.Unmarshal(body, &told); err != nil {
		return nil, channels.ErrUnreadable
	}
	return told, nil
}

const carrierPath = "/v1/receipts/carrier"

// tell calls as the provider does, without a token.
func (a *api) tell(told ...channels.Receipt) *reply {
	a.t.Helper()
	body, err := json.Marshal(told)
	require.NoError(a.t, err)
	return a.as("").do(signedBy("good", string(body)))
}

func signedBy(signature, body string) request {
	return request{method: "POST", path: carrierPath, body: body, header: map[string]string{"X-Signature": signature, "Content-Type": "application/json"}, wrong: true}
}

// onItsWay plans and begins a notification.
func (a *api) onItsWay() (id, event string) {
	a.t.Helper()
	event = a.event(nil)
	id = a.plan(events.NotificationScheduled{EventID: event, ScheduledTime: a.clock.now()})
	a.begin(id)
	return id, event
}

func (a *api) statusOf(id string) string {
	a.t.Helper()
	return a.get("/v1/notifications/" + id).is(http.StatusOK)["status"].(string)
}

func TestReceiptsAreVerified(t *testing.T) {
	a := newAPI(t)
	id, event := a.onItsWay()
	a.sent(id, event, 1)
	body := `[{"MessageID":"` + id + `","News":1}]`
	before := a.facts()
	for signature, want := range map[string]string{"": "403 forged_receipt", "bad": "403 forged_receipt", "old": "400 stale_receipt"} {
		status, code, _ := strings.Cut(want, " ")
		r := a.as("").do(signedBy(signature, body))
		r.refused(map[string]int{"403": 403, "400": 400}[status], code)
	}
	a.do(signedBy("", body)).refused(http.StatusForbidden, "forged_receipt") // a token makes nothing good
	a.as("").do(signedBy("good", "{")).refused(http.StatusBadRequest, "unreadable_receipt")
	a.as("").do(signedBy("broken", body)).refused(http.StatusInternalServerError, "internal")
	other := signedBy("good", body)
	other.path = "/v1/receipts/nobody"
	a.as("").do(other).refused(http.StatusNotFound, "provider_not_found")
	a.as("").do(request{method: "GET", path: carrierPath, wrong: true}).refused(http.StatusMethodNotAllowed, "method_not_allowed")
	a.as("").do(signedBy("good", strings.Repeat(" ", 1<<20)+"[]")).refused(http.StatusRequestEntityTooLarge, "body_too_large")
	require.Equal(t, before, a.facts())
	require.Equal(t, "SENT", a.statusOf(id))

	r := a.as("").do(signedBy("good", body))
	r.is(http.StatusNoContent)
	require.Empty(t, r.body)
	require.Equal(t, "DELIVERED", a.statusOf(id))
	metrics := string(a.get("/metrics").body)
	require.Contains(t, metrics, `belltower_receipts_refused_total{provider="carrier",reason="forged_receipt"} 3`)
	require.Contains(t, metrics, `belltower_receipts_refused_total{provider="carrier",reason="stale_receipt"} 1`)
	require.Contains(t, metrics, `belltower_receipts_total{news="delivered",provider="carrier",result="recorded"} 1`)
	require.NotContains(t, metrics, "nobody")
}

func TestReceiptsBecomeFacts(t *testing.T) {
	a := newAPI(t)
	at := start.Add(-time.Minute)
	receipt := func(id string, news channels.News) channels.Receipt {
		return channels.Receipt{ID: "r-" + news.String(), MessageID: strings.ToUpper(id), Attempt: 1, News: news, Kind: channels.Email, At: at, Ref: "ref-1", Code: "5.1.1", Detail: "carrier: full"}
	}
	t.Run("faster than our own conclusion", func(t *testing.T) {
		id, event := a.onItsWay()
		a.tell(receipt(id, channels.Delivered)).is(http.StatusNoContent)
		n := a.get("/v1/notifications/" + id).is(http.StatusOK)
		require.Equal(t, []any{"DELIVERED", "ref-1", nil}, []any{n["status"], n["provider_message_id"], n["message"]})
		a.sent(id, event, 1)
		n = a.get("/v1/notifications/" + id).is(http.StatusOK)
		require.Equal(t, []any{"DELIVERED", "p-1", "Hello Ann"}, []any{n["status"], n["provider_message_id"], n["message"]})
		require.Equal(t, "delivered", n["attempt_log"].([]any)[0].(object)["outcome"])
	})
	t.Run("of an outcome that was lost", func(t *testing.T) {
		for news, want := range map[channels.News]string{channels.Taken: "SENT", channels.Delivered: "DELIVERED", channels.Complained: "DELIVERED", channels.Bounced: "FAILED", channels.AddressDied: "FAILED"} {
			id, event := a.onItsWay()
			a.gaveUp(id, event, 1, events.FailedOutcomeUnknown, "")
			a.tell(receipt(id, news)).is(http.StatusNoContent)
			n := a.get("/v1/notifications/" + id).is(http.StatusOK)
			require.Equal(t, want, n["status"], news)
			if want == "FAILED" {
				require.Equal(t, "carrier: full", n["last_error"])
			}
			require.NotNil(t, n["sent_time"])
		}
	})
	t.Run("told again, and late", func(t *testing.T) {
		id, event := a.onItsWay()
		a.sent(id, event, 1)
		a.tell(receipt(id, channels.Delivered), receipt(id, channels.Taken), receipt(id, channels.Delivered)).is(http.StatusNoContent)
		before := a.facts()
		for range 2 {
			a.tell(receipt(id, channels.Taken), receipt(id, channels.Delivered)).is(http.StatusNoContent)
		}
		require.Equal(t, before, a.facts())
		require.Equal(t, "DELIVERED", a.statusOf(id))
		a.tell(receipt(id, channels.Bounced)).is(http.StatusNoContent)
		a.tell(receipt(id, channels.Delivered)).is(http.StatusNoContent)
		require.Equal(t, "FAILED", a.statusOf(id))
	})
	t.Run("of what is not known", func(t *testing.T) {
		waits := a.plan(events.NotificationScheduled{EventID: a.event(nil), ScheduledTime: a.clock.now()})
		before := a.facts()
		a.tell(receipt(unknownID(), channels.Bounced), receipt("x", channels.Delivered), receipt("", channels.Delivered), receipt(waits, channels.Delivered)).is(http.StatusNoContent)
		require.Equal(t, before, a.facts())
		require.Contains(t, string(a.get("/metrics").body), `belltower_receipts_total{news="delivered",provider="carrier",result="unknown"} 3`)
	})
	t.Run("many", func(t *testing.T) {
		var told []channels.Receipt
		var ids []string
		event := a.event(nil)
		for range 100 {
			id := a.plan(events.NotificationScheduled{EventID: event, ScheduledTime: a.clock.now()})
			a.begin(id)
			ids = append(ids, id)
			for _, news := range []channels.News{channels.Delivered, channels.Taken} {
				r := receipt(id, news)
				r.ID += id
				told = append(told, r, r)
			}
		}
		a.tell(told...).is(http.StatusNoContent)
		for _, id := range ids {
			require.Equal(t, "DELIVERED", a.statusOf(id))
		}
	})
}

// What is not recorded is told again: nothing of it counts twice.
func TestReceiptsWhileTheStoreIsAway(t *testing.T) {
	a := newAPI(t)
	id, event := a.onItsWay()
	a.sent(id, event, 1)
	a.store.Fail = func(int) error { return eventstore.ErrUnavailable }
	r := a.tell(channels.Receipt{MessageID: id, Attempt: 1, News: channels.Delivered})
	r.refused(http.StatusServiceUnavailable, "unavailable")
	require.NotEmpty(t, r.header.Get("Retry-After"))
	a.store.Fail = nil
	a.tell(channels.Receipt{MessageID: id, Attempt: 1, News: channels.Delivered}).is(http.StatusNoContent)
	require.Equal(t, "DELIVERED", a.statusOf(id))
}

// Many tell the same at once.
func TestReceiptsThatRace(t *testing.T) {
	a := newAPI(t)
	id, event := a.onItsWay()
	a.sent(id, event, 1)
	before := a.facts()
	var telling sync.WaitGroup
	for range 8 {
		telling.Go(func() {
			r, err := http.NewRequest("POST", a.url+carrierPath, strings.NewReader(`[{"MessageID":"`+id+`","News":1}]`))
			if err != nil {
				t.Error(err)
				return
			}
			r.Header.Set("X-Signature", "good")
			answer, err := a.client.Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			defer answer.Body.Close()
			if answer.StatusCode != http.StatusNoContent {
				t.Error(answer.Status)
			}
		})
	}
	telling.Wait()
	require.Equal(t, before+1, a.facts())
}

func TestAddressesAreSuppressed(t *testing.T) {
	a := newAPI(t)
	why := func(kind aggregates.AddressKind, address string) string {
		known, err := a.commands.Suppression(t.Context(), kind, address)
		require.NoError(t, err)
		require.Equal(t, known.Active, known.Reason != "")
		return known.Reason
	}
	of := func(news channels.News, kind channels.Kind, to, id string) channels.Receipt {
		return channels.Receipt{ID: id, News: news, Kind: kind, To: to}
	}
	const number = "+15005550009"
	a.tell(of(channels.StopAsked, channels.Phone, number, "1")).is(http.StatusNoContent)
	require.Equal(t, "stop", why(aggregates.PhoneNumber, "+1 500 555-0009"))
	a.tell(of(channels.StartAsked, channels.Phone, number, "2")).is(http.StatusNoContent)
	require.Empty(t, why(aggregates.PhoneNumber, number))
	before := a.facts()
	a.tell(of(channels.StopAsked, channels.Phone, number, "1"), of(channels.StartAsked, channels.Phone, "+15005550010", "3"), of(channels.StopAsked, channels.Phone, "no number", "4")).is(http.StatusNoContent)
	require.Equal(t, before, a.facts(), "told again, or leading to nothing")
	require.Empty(t, why(aggregates.PhoneNumber, number))

	id, event := a.onItsWay()
	a.sent(id, event, 1)
	complaint := of(channels.Complained, channels.Email, "Ann@Example.org", "5")
	complaint.MessageID = id
	a.tell(complaint).is(http.StatusNoContent)
	require.Equal(t, "DELIVERED", a.statusOf(id), "it had arrived")
	require.Equal(t, "complaint", why(aggregates.EmailAddress, "ann@example.org"))
	require.Empty(t, why(aggregates.PhoneNumber, number), "other kinds are not touched")
	a.tell(of(channels.AddressDied, channels.Email, "bob@example.org", "6")).is(http.StatusNoContent)
	require.Equal(t, "gone", why(aggregates.EmailAddress, "bob@example.org"))

	sub, err := a.store.Subscribe(t.Context(), eventstore.Start)
	require.NoError(t, err)
	defer sub.Close()
	batch, err := sub.Next(t.Context())
	require.NoError(t, err)
	for _, r := range batch.Records {
		for _, secret := range []string{number, "nn@", "ob@"} {
			require.NotContains(t, r.Stream+string(r.Data)+string(r.Metadata), secret)
		}
	}
	require.False(t, bytes.Contains([]byte(a.logs.String()), []byte(number)))
}

func TestSuppressionsByHand(t *testing.T) {
	a := newAPI(t)
	ann := object{"kind": "email", "address": "Ann@Example.org"}
	ask := func(what string, body object) object {
		return a.post("/v1/suppressions"+what, body).is(http.StatusOK)
	}
	before := a.facts()
	none := ask("/lookup", ann)
	require.Equal(t, []any{false, nil, nil, -1.0, "A***@Example.org"}, []any{none["suppressed"], none["reason"], none["since"], none["revision"], none["to"]})
	require.Equal(t, false, ask("/release", ann)["suppressed"])
	require.Equal(t, before, a.facts())

	now := ask("", ann)
	require.Equal(t, []any{true, "by_hand", none["id"], 0.0}, []any{now["suppressed"], now["reason"], now["id"], now["revision"]})
	require.Equal(t, now, ask("", with(ann, object{"address": "ann@EXAMPLE.ORG"})), "the same address, and nothing changes")
	known, err := a.commands.Suppression(t.Context(), aggregates.EmailAddress, "ann@example.org")
	require.NoError(t, err)
	reason := known.Reason
	require.Equal(t, "by_hand", reason)
	a.tell(channels.Receipt{News: channels.StartAsked, Kind: channels.Email, To: "ann@example.org", At: start}).is(http.StatusNoContent)
	require.Equal(t, true, ask("/lookup", ann)["suppressed"], "its owner's word doesn't take it back")
	require.Equal(t, false, ask("/release", ann)["suppressed"])

	a.tell(channels.Receipt{ID: "1", News: channels.StopAsked, Kind: channels.Phone, To: "+15005550009", Code: "STOP"}).is(http.StatusNoContent)
	told := ask("/lookup", object{"kind": "phone", "address": "+1 500 555 0009"})
	require.Equal(t, []any{true, "stop", "carrier", "STOP", "+15*****09"}, []any{told["suppressed"], told["reason"], told["provider"], told["code"], told["to"]})
	require.Equal(t, false, ask("/release", object{"kind": "phone", "address": "+15005550009"})["suppressed"])

	keyed := request{method: "POST", path: "/v1/suppressions", body: ann, header: map[string]string{"Idempotency-Key": "k"}}
	first := a.do(keyed)
	first.is(http.StatusOK)
	ask("/release", ann)
	again := a.do(keyed)
	require.Equal(t, first.is(http.StatusOK), again.is(http.StatusOK))
	require.Equal(t, "true", again.header.Get("Idempotent-Replayed"))
	require.Equal(t, false, ask("/lookup", ann)["suppressed"])

	for _, what := range []string{"", "/lookup", "/release"} {
		for name, c := range map[string]struct {
			body object
			want []string
		}{
			"no e-mail": {object{"kind": "email", "address": "ann"}, []string{"address invalid_address"}},
			"no number": {object{"kind": "phone", "address": "ann@example.org"}, []string{"address invalid_address"}},
			"nothing":   {object{"kind": "push_token", "address": ""}, []string{"address invalid_address"}},
		} {
			require.Equal(t, c.want, a.post("/v1/suppressions"+what, c.body).faults(http.StatusUnprocessableEntity), name)
		}
		wrong := request{method: "POST", path: "/v1/suppressions" + what, body: object{"kind": "fax", "address": "1"}, wrong: true}
		require.Equal(t, []string{"kind unknown_kind"}, a.do(wrong).faults(http.StatusUnprocessableEntity))
		wrong.body = object{"kind": "email", "address": "ann@example.org", "why": "x"}
		a.do(wrong).is(http.StatusBadRequest)
		a.as("").do(request{method: "POST", path: "/v1/suppressions" + what, body: ann, wrong: true}).refused(http.StatusUnauthorized, "unauthorized")
	}
	require.NotContains(t, a.logs.String(), "ann@")
}

// A key belongs to its caller and route, whichever address is asked for, as on
// every other route.
func TestKeysOfSuppressions(t *testing.T) {
	a := newAPI(t)
	ann, bob := object{"kind": "email", "address": "ann@example.org"}, object{"kind": "email", "address": "bob@example.org"}
	ask := func(what string, body object, key string) *reply {
		return a.do(request{method: "POST", path: "/v1/suppressions" + what, body: body, header: map[string]string{"Idempotency-Key": key}, wrong: true})
	}
	ask("", object{"kind": "email", "address": "ann"}, "k").is(http.StatusUnprocessableEntity) // refusals are not kept
	ask("", object{"kind": "email"}, "k").is(http.StatusUnprocessableEntity)
	first := ask("", ann, "k").is(http.StatusOK)
	require.Equal(t, true, first["suppressed"])
	before := a.facts()
	ask("", bob, "k").refused(http.StatusUnprocessableEntity, "idempotency_key_reused")
	ask("", object{"kind": "email", "address": "ann@Example.org"}, "k").refused(http.StatusUnprocessableEntity, "idempotency_key_reused")
	ask("", object{"kind": "fax"}, "k").refused(http.StatusUnprocessableEntity, "idempotency_key_reused")
	again := ask("", object{"address": "ann@example.org", "kind": "email"}, `"k"`)
	require.Equal(t, first, again.is(http.StatusOK))
	require.Equal(t, "true", again.header.Get("Idempotent-Replayed"))
	require.Equal(t, before, a.facts())
	require.Equal(t, false, a.post("/v1/suppressions/lookup", bob).is(http.StatusOK)["suppressed"])

	require.Equal(t, false, ask("/release", ann, "k").is(http.StatusOK)["suppressed"], "another route")
	ask("/release", bob, "k").refused(http.StatusUnprocessableEntity, "idempotency_key_reused")
	require.Equal(t, true, a.as(annToken).do(request{
		method: "POST", path: "/v1/suppressions", body: bob, header: map[string]string{"Idempotency-Key": "k"},
	}).is(http.StatusOK)["suppressed"], "another caller")
}

// What was noted of a request that then failed doesn't keep the same request from
// being done.
func TestKeysOfSuppressionsThatFailed(t *testing.T) {
	a := newAPI(t)
	ann := object{"kind": "email", "address": "ann@example.org"}
	keyed := request{method: "POST", path: "/v1/suppressions", body: ann, header: map[string]string{"Idempotency-Key": "k"}}
	n := 0
	a.store.Fail = func(int) error {
		if n++; n > 1 {
			return eventstore.ErrUnavailable
		}
		return nil
	}
	a.do(keyed).refused(http.StatusServiceUnavailable, "unavailable")
	require.Greater(t, n, 1)
	a.store.Fail = nil
	done := a.do(keyed)
	require.Equal(t, true, done.is(http.StatusOK)["suppressed"])
	require.Empty(t, done.header.Get("Idempotent-Replayed"))
	require.Equal(t, "true", a.do(keyed).header.Get("Idempotent-Replayed"))
}

func TestListOfSuppressions(t *testing.T) {
	a := newAPI(t)
	list := func(query string) (tos []string, next string) {
		l := a.get("/v1/suppressions" + query).is(http.StatusOK)
		for _, item := range l["items"].([]any) {
			tos = append(tos, item.(object)["to"].(string))
		}
		next, _ = l["next_cursor"].(string)
		return tos, next
	}
	none, next := list("")
	require.Empty(t, none)
	require.Empty(t, next)
	a.post("/v1/suppressions", object{"kind": "email", "address": "ann@example.org"}).is(http.StatusOK)
	a.clock.advance(time.Second)
	a.tell(channels.Receipt{ID: "1", News: channels.StopAsked, Kind: channels.Phone, To: "+15005550009", Code: "STOP"}).is(http.StatusNoContent)
	a.clock.advance(time.Second)
	last := a.post("/v1/suppressions", object{"kind": "email", "address": "bob@example.org"}).is(http.StatusOK)

	all, _ := list("")
	require.Equal(t, []string{"a***@example.org", "+15*****09", "b***@example.org"}, all)
	one, next := list("?limit=2")
	require.Equal(t, all[:2], one)
	two, none2 := list("?limit=2&cursor=" + next)
	require.Equal(t, all[2:], two)
	require.Empty(t, none2)
	a.do(request{method: "GET", path: "/v1/suppressions?kind=phone&cursor=" + next, wrong: true}).is(http.StatusBadRequest)
	for query, want := range map[string][]string{"kind=phone": all[1:2], "reason=by_hand": {all[0], all[2]}, "provider=carrier": all[1:2], "provider=other": nil} {
		got, _ := list("?" + query)
		require.Equal(t, want, got, query)
	}
	item := a.get("/v1/suppressions").is(http.StatusOK)["items"].([]any)[2]
	require.Equal(t, last, item, "the same as the resource")
	for _, query := range []string{"kind=fax", "reason=x", "provider=", "limit=0", "address=ann@example.org"} {
		a.do(request{method: "GET", path: "/v1/suppressions?" + query, wrong: true}).refused(http.StatusBadRequest, "bad_query")
	}
	a.as("").do(request{method: "GET", path: "/v1/suppressions", wrong: true}).refused(http.StatusUnauthorized, "unauthorized")
	a.post("/v1/suppressions/release", object{"kind": "email", "address": "Ann@Example.org"}).is(http.StatusOK)
	left, _ := list("")
	require.Equal(t, all[1:], left)
}
