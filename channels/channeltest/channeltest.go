// Package channeltest states what every channel must do, whoever carries its
// messages. An adapter's tests call Run.
package channeltest

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/channels"
)

// patience is how soon "back soon after its context ends" is, on a busy machine.
const patience = 10 * time.Second

// Subject is a kind of channel under test.
type Subject struct {
	// New starts a channel and a provider of its own that takes everything; both
	// end with t.
	New func(t *testing.T) Rig
	// To is an address that the channel takes.
	To string
	// Secrets must appear in no result and no error: tokens, URLs that hold one.
	Secrets []string
	// Lost is what it means that an answer was lost. Most providers leave that
	// Unknown; it is Later with those that recognise the repeat of a message.
	Lost channels.Outcome
}

// Rig is one channel with its provider. Its functions may be called from the
// test's goroutine while sends are under way.
type Rig struct {
	Channel channels.Channel
	// Sent returns what the provider has been given since the rig began, one for
	// each call, as the provider reads it. It fails the test when something
	// arrived that the provider would misread: a second message inside the first,
	// markup that the text's author smuggled in.
	Sent func() []Sent
	// Refuse makes the provider refuse everything from now on, in the way that
	// lets it quote reason in its answer.
	Refuse func(reason string)
	// Stall makes the provider take the next call and leave it without an answer
	// until the test ends. What it returns is closed once that call has arrived.
	Stall func() (arrived <-chan struct{})
}

// Sent is one message as the provider understood it.
type Sent struct {
	ID   string // "" where the provider is given none
	Text string // as the recipient reads it; it may hold more than Message.Text
}

// Run holds a channel to the port's promises.
func Run(t *testing.T, s Subject) {
	for name, test := range map[string]func(*testing.T, Subject, Rig){
		"a message arrives once":              arrives,
		"every attempt has the same ID":       keepsItsID,
		"hostile text stays text":             survivesHostileText,
		"what has expired is not sent":        refusesExpired,
		"an address is required":              requiresAnAddress,
		"a check sends nothing":               checksPurely,
		"a cancelled context sends nothing":   heedsCancelled,
		"a stalled provider holds nobody":     outlivesAStall,
		"a refusal reveals nothing":           keepsRefusalsClean,
		"many at once arrive once each":       sendsConcurrently,
		"an expired message is not a timeout": expiresBeforeTimingOut,
	} {
		t.Run(name, func(t *testing.T) { test(t, s, s.New(t)) })
	}
}

// message has something to recognise in each field.
func (s Subject) message() channels.Message {
	now := time.Now()
	return channels.Message{
		ID: "3f8e1f0a-9d53-5c58-8d2b-6a1f2f0c7e11", Channel: "subject", Attempt: 1,
		To: s.To, Name: "Zebulon Quist", Subject: "Rehearsal of the carillon", Text: "The carillon rings at six",
		Due: now, Expires: now.Add(time.Hour),
		Event: channels.Event{
			UID: "0f8b6c0e-6d1c-4b8e-8a59-2f5a4f5b9a10", Sequence: 3, Changed: now.Add(-time.Hour),
			Title: "Rehearsal of the carillon", Description: "Bring soft shoes", Location: "North tower",
			Start: now.Add(time.Hour), End: now.Add(2 * time.Hour), Zone: time.UTC,
		},
		OptOut: "https://bells.example.org/v1/opt-out/c2lnbmVk",
	}
}

// send makes an attempt and checks what holds for every result.
func (s Subject) send(ctx context.Context, t *testing.T, c channels.Channel, m channels.Message) channels.Result {
	t.Helper()
	result := c.Send(ctx, m)
	s.keepsQuiet(t, m, result.Ref+"\n"+result.Code+"\n"+result.Detail)
	return result
}

// keepsQuiet checks that what is shown to people and kept for ever says nothing
// about the recipient, and no secret.
func (s Subject) keepsQuiet(t *testing.T, m channels.Message, shown string) {
	t.Helper()
	for _, private := range append([]string{m.To, m.Name, m.Subject, m.Text, m.OptOut}, s.Secrets...) {
		if len(private) > 3 { // shorter ones are in any text by chance
			require.NotContains(t, shown, private)
		}
	}
}

func arrives(t *testing.T, s Subject, r Rig) {
	m := s.message()
	require.NoError(t, r.Channel.Check(m))
	require.Equal(t, channels.Accepted, s.send(t.Context(), t, r.Channel, m).Outcome)
	sent := r.Sent()
	require.Len(t, sent, 1)
	require.Contains(t, sent[0].Text, m.Text)
}

func keepsItsID(t *testing.T, s Subject, r Rig) {
	m := s.message()
	for m.Attempt = 1; m.Attempt <= 3; m.Attempt++ {
		require.Equal(t, channels.Accepted, s.send(t.Context(), t, r.Channel, m).Outcome)
	}
	sent := r.Sent()
	require.Len(t, sent, 3)
	for _, one := range sent {
		if one.ID != "" {
			require.Equal(t, m.ID, one.ID)
		}
	}
}

func refusesExpired(t *testing.T, s Subject, r Rig) {
	m := s.message()
	m.Expires = time.Now().Add(-time.Millisecond)
	require.Equal(t, channels.Rejected, s.send(t.Context(), t, r.Channel, m).Outcome)
	require.Empty(t, r.Sent())
}

func expiresBeforeTimingOut(t *testing.T, s Subject, r Rig) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m := s.message()
	m.Expires = time.Now().Add(-time.Millisecond)
	require.Equal(t, channels.Rejected, s.send(ctx, t, r.Channel, m).Outcome)
	require.Empty(t, r.Sent())
}

func requiresAnAddress(t *testing.T, s Subject, r Rig) {
	for _, to := range []string{"", " ", "\t\r\n"} {
		m := s.message()
		m.To = to
		require.Error(t, r.Channel.Check(m), "%q", to)
		require.Equal(t, channels.Rejected, s.send(t.Context(), t, r.Channel, m).Outcome, "%q", to)
	}
	require.Empty(t, r.Sent())
}

func checksPurely(t *testing.T, s Subject, r Rig) {
	r.Refuse("no") // a check that calls out would say so
	for range 3 {
		require.NoError(t, r.Channel.Check(s.message()))
	}
	require.Empty(t, r.Sent())
}

func heedsCancelled(t *testing.T, s Subject, r Rig) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	result := s.sendSoon(ctx, t, r.Channel, s.message())
	require.Equal(t, channels.Later, (<-result).Outcome, "certainly not taken")
	require.Empty(t, r.Sent())
}

func outlivesAStall(t *testing.T, s Subject, r Rig) {
	arrived := r.Stall()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	result := s.sendSoon(ctx, t, r.Channel, s.message())
	select {
	case <-arrived:
	case <-time.After(patience):
		require.Fail(t, "the message did not reach the provider")
	}
	cancel()
	require.Equal(t, s.Lost, (<-result).Outcome, "the provider may have taken it")
}

// sendSoon sends in the background, and fails the test if that does not end soon
// after ctx has.
func (s Subject) sendSoon(ctx context.Context, t *testing.T, c channels.Channel, m channels.Message) <-chan channels.Result {
	results, passed := make(chan channels.Result, 1), make(chan channels.Result, 1)
	go func() { results <- c.Send(ctx, m) }()
	go func() {
		defer close(passed)
		select {
		case r := <-results:
			passed <- r
			return
		case <-ctx.Done():
		}
		select {
		case r := <-results:
			passed <- r
		case <-time.After(patience):
			t.Errorf("Send went on for %v after its context had ended", patience)
		}
	}()
	return passed
}

func keepsRefusalsClean(t *testing.T, s Subject, r Rig) {
	m := s.message()
	r.Refuse(strings.Join(append([]string{m.To, m.Name, m.Subject, m.Text}, s.Secrets...), " "))
	result := s.send(t.Context(), t, r.Channel, m)
	require.NotEqual(t, channels.Accepted, result.Outcome)
	require.NotEmpty(t, result.Detail, "people want to know why")
}

func sendsConcurrently(t *testing.T, s Subject, r Rig) {
	const many = 32
	var (
		all     sync.WaitGroup
		results [many]channels.Result
	)
	for i := range many {
		all.Go(func() { results[i] = r.Channel.Send(t.Context(), s.message()) })
	}
	all.Wait()
	for _, result := range results {
		require.Equal(t, channels.Accepted, result.Outcome, result.Detail)
	}
	sent := r.Sent()
	require.Len(t, sent, many)
	for _, one := range sent {
		require.Contains(t, one.Text, s.message().Text)
	}
}
