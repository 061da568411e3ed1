package channels

import (
	"errors"
	"net/http"
	"time"
)

// News is what a provider says of a message after it took it, or what a recipient
// answered.
type News uint8

// The kinds of news. A provider may tell them late, twice and in any order.
const (
	Delivered   News = iota + 1 // it arrived
	Bounced                     // it did not arrive and won't; the address may be fine
	AddressDied                 // it did not arrive: this address never again
	Complained                  // the recipient called it unwanted
	StopAsked                   // the recipient wants nothing more at this address
	StartAsked                  // the recipient takes that back
	Taken                       // the provider has it, which settles an attempt whose outcome is unknown
)

// String is how metrics and logs name news.
func (n News) String() string {
	names := [...]string{"", "delivered", "bounced", "address_died", "complained", "stop_asked", "start_asked", "taken"}
	if int(n) >= len(names) {
		return names[0]
	}
	return names[n]
}

// Receipt is one piece of news, verified to be the provider's.
type Receipt struct {
	// ID is the same whenever the provider tells this news again. Empty: there is
	// none, and the message with its News stands for it.
	ID string
	// MessageID is the notification's id. Empty where the news is about To alone, as
	// StopAsked and StartAsked are.
	MessageID string
	Attempt   int // as in Message; 0: it isn't told
	News      News
	Kind      Kind      // of To
	To        string    // the address, where the provider tells it; personal data
	At        time.Time // when it happened, by the provider's clock; zero: it isn't told
	Ref       string    // the provider's id of the message, as in Result
	Code      string    // the provider's code
	Detail    string    // for people: no secret and no personal data in it
}

// Receiver is a channel whose provider calls back. It is found by a type assertion.
type Receiver interface {
	// Receive verifies a request by its signature over the raw body and gives the
	// news in it, which may be none. The address that the provider was told to call
	// is part of what some sign. Errors match ErrForged, ErrStale or ErrUnreadable.
	Receive(r *http.Request, body []byte) ([]Receipt, error)
}

// Why a Receiver refuses a request.
var (
	ErrForged     = errors.New("the signature is missing or wrong")
	ErrStale      = errors.New("the signature is too old or too new")
	ErrUnreadable = errors.New("the body can't be read")
)
