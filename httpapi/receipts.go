package httpapi

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
)

// ReceiptsPath is where providers tell what became of messages; the provider's name
// follows.
const ReceiptsPath = "/v1/receipts/"

// Receiver verifies what one provider tells, and reads it, as channels.Receiver has it.
type Receiver interface {
	Receive(r *http.Request, body []byte) ([]channels.Receipt, error)
}

var (
	errNoProvider        = newProblem(http.StatusNotFound, "provider_not_found", "no provider of this name tells Belltower anything")
	errForgedReceipt     = newProblem(http.StatusForbidden, "forged_receipt", "the signature is missing or wrong")
	errStaleReceipt      = newProblem(http.StatusBadRequest, "stale_receipt", "the signature is too old, or of the future")
	errUnreadableReceipt = newProblem(http.StatusBadRequest, "unreadable_receipt", "the body can't be read")
)

// receiptWorkers bounds the receipts of one request that are recorded at once, so
// that they share syncs. Their order means nothing.
const receiptWorkers = 64

// postReceipts records what a provider tells. It is answered with success once all of
// it is on disk, or is known to lead to nothing; a provider tells again what
// was answered with 503, which changes nothing twice.
func (s *server) postReceipts(c *call) (*answer, error) {
	provider := c.vars["provider"]
	receiver, ok := s.o.Receivers[provider]
	if !ok {
		return nil, errNoProvider
	}
	body, err := s.readReceipts(c)
	if err != nil {
		return nil, err
	}
	told, err := receiver.Receive(c.Request, body)
	if err != nil {
		return nil, s.refuseReceipts(c, provider, err)
	}
	var (
		recording sync.WaitGroup
		slots     = make(chan struct{}, receiptWorkers)
		failed    = make([]error, len(told))
	)
	for i, r := range told {
		slots <- struct{}{}
		recording.Go(func() {
			defer func() { <-slots }()
			failed[i] = s.record(c, provider, r)
		})
	}
	recording.Wait()
	if err := errors.Join(failed...); err != nil {
		return nil, err
	}
	return &answer{status: http.StatusNoContent}, nil
}

// readReceipts reads the raw body, which is what is signed. Who calls isn't known
// yet, so it takes its place among all requests.
func (s *server) readReceipts(c *call) ([]byte, error) {
	c.place.a = s.admission
	if err := c.place.take(s.admission.all); err != nil {
		return nil, err
	}
	data, err := c.readRaw(maxBody)
	if err != nil {
		return nil, err
	}
	c.patient()
	return data, c.enter()
}

func (s *server) refuseReceipts(c *call, provider string, err error) error {
	var p *problem
	switch {
	case errors.Is(err, channels.ErrForged):
		p = errForgedReceipt
	case errors.Is(err, channels.ErrStale):
		p = errStaleReceipt
	case errors.Is(err, channels.ErrUnreadable):
		p = errUnreadableReceipt
	default:
		return err
	}
	s.metrics.receiptsRefused.WithLabelValues(provider, p.Code).Inc()
	s.log.WarnContext(c.Context(), "what is said to be a provider's was refused", "provider", provider, "request_id", c.id, "error", err)
	return p
}

// What came of a receipt, in metrics.
const (
	receiptRecorded = "recorded"
	receiptKnown    = "known"   // it changed nothing
	receiptUnknown  = "unknown" // it is about no notification of ours, or about one that was never sent
)

// record writes down one receipt: what it says of a message, and of an address.
func (s *server) record(c *call, provider string, r channels.Receipt) error {
	// A provider that doesn't wait for the answer tells it again, or never does.
	ctx := context.WithoutCancel(c.Context())
	by := commands.Caller{Actor: "provider:" + provider, CorrelationID: c.id, CausationID: c.id}
	result, err := s.recordMessage(ctx, by, r)
	if err != nil {
		return err
	}
	about, err := s.recordAddress(ctx, by, provider, r)
	if err != nil {
		return err
	}
	if result == "" || about == receiptRecorded {
		result = about
	}
	if result == "" {
		result = receiptUnknown
	}
	s.metrics.receipts.WithLabelValues(provider, r.News.String(), result).Inc()
	if result == receiptUnknown {
		s.log.WarnContext(ctx, "a receipt is about nothing that is known here", "provider", provider, "news", r.News.String(), "request_id", c.id)
	}
	return nil
}

// ofMessage is what news says of a message. One that was complained of had arrived.
var ofMessage = map[channels.News]string{
	channels.Taken: aggregates.ReceiptTaken, channels.Delivered: aggregates.ReceiptDelivered, channels.Complained: aggregates.ReceiptDelivered,
	channels.Bounced: aggregates.ReceiptBounced, channels.AddressDied: aggregates.ReceiptBounced,
}

// recordMessage gives what came of a receipt that is about a message; "" where it
// isn't.
func (s *server) recordMessage(ctx context.Context, by commands.Caller, r channels.Receipt) (result string, err error) {
	news, ok := ofMessage[r.News]
	if !ok || r.MessageID == "" {
		return "", nil
	}
	id, ok := canonicalID(r.MessageID)
	if !ok {
		return receiptUnknown, nil
	}
	said := aggregates.Receipt{News: news, Attempt: r.Attempt, ID: r.ID, At: r.At, Ref: r.Ref, Error: r.Detail}
	if r.To != "" {
		said.To = channels.Mask(r.Kind, r.To)
	}
	if said.Error == "" {
		said.Error = r.Code
	}
	got, err := commands.Do(ctx, s.o.Commands, commands.RecordReceipt{NotificationID: id, Receipt: said}, by, func(*aggregates.Notification, time.Time) struct{} { return struct{}{} })
	switch {
	case errors.Is(err, aggregates.ErrNotificationNotFound), errors.Is(err, aggregates.ErrNotificationState):
		return receiptUnknown, nil
	case err != nil:
		return "", err
	case got.Appended == 0:
		return receiptKnown, nil
	}
	return receiptRecorded, nil
}

// whySuppressed is what news says of an address.
var whySuppressed = map[channels.News]string{
	channels.StopAsked: events.SuppressedStop, channels.Complained: events.SuppressedComplaint, channels.AddressDied: events.SuppressedGone,
}

// recordAddress gives what came of a receipt that is about an address; "" where it
// isn't.
func (s *server) recordAddress(ctx context.Context, by commands.Caller, provider string, r channels.Receipt) (result string, err error) {
	reason, suppresses := whySuppressed[r.News]
	if !suppresses && r.News != channels.StartAsked {
		return "", nil
	}
	id, ok := s.o.Commands.SuppressionID(aggregates.AddressKind(r.Kind), r.To)
	if !ok {
		return "", nil
	}
	told := r.At
	if now := s.o.Now(); told.After(now) {
		told = now
	}
	var appended int
	none := func(*aggregates.Suppression, time.Time) struct{} { return struct{}{} }
	if suppresses {
		got, failed := commands.Do(ctx, s.o.Commands, commands.SuppressAddress{Fact: events.AddressSuppressed{
			SuppressionID: id, Kind: string(r.Kind), To: channels.Mask(r.Kind, r.To), Reason: reason, Provider: provider, Code: r.Code, Receipt: r.ID, Told: told,
		}}, by, none)
		appended, err = got.Appended, failed
	} else {
		got, failed := commands.Do(ctx, s.o.Commands, commands.ReleaseAddress{Fact: events.AddressReleased{
			SuppressionID: id, Kind: string(r.Kind), Reason: events.ReleasedAsked, Provider: provider, Receipt: r.ID, Told: told,
		}}, by, none)
		appended, err = got.Appended, failed
	}
	switch {
	case err != nil:
		return "", err
	case appended == 0:
		return receiptKnown, nil
	}
	return receiptRecorded, nil
}
