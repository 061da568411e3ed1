package outgoing

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"time"

	"github.com/belltower/belltower/channels"
)

// Sender makes attempts over HTTP: what is the same for all providers. Its fields
// are what isn't.
type Sender struct {
	Name   string // of the provider; begins each detail
	Client *Client
	Now    func() time.Time
	Check  func(channels.Message) error
	// Request makes the one call of an attempt. Where it can't, it says why by an
	// *Unprepared.
	Request func(ctx context.Context, m channels.Message) (*http.Request, error)
	// Read says what an answer means. A zero Detail is filled in.
	Read func(Answer) channels.Result
	// Lost is what it means that an answer was lost: Unknown, or Later where the
	// provider recognises the repeat of a message.
	Lost channels.Outcome
}

// Unprepared is that a call can't be made.
type Unprepared struct {
	Result channels.Result
	Words  string
}

func (u *Unprepared) Error() string { return u.Result.Detail }

// Send makes one attempt, for channels.Channel.
func (s Sender) Send(ctx context.Context, m channels.Message) channels.Result {
	result, _ := s.Try(ctx, m)
	return result
}

// Try makes one attempt, as channels.Channel's Send does, and gives the provider's
// words as well. They may quote the message: show them to who asked, and keep them not.
func (s Sender) Try(ctx context.Context, m channels.Message) (result channels.Result, words string) {
	if err := s.Check(m); err != nil {
		return channels.Result{Outcome: channels.Rejected, Code: "check", Detail: err.Error()}, ""
	}
	if s.Now().After(m.Expires) {
		return channels.Result{Outcome: channels.Rejected, Code: "expired", Detail: s.Name + ": the message has expired"}, ""
	}
	if ctx.Err() != nil {
		return channels.Result{Outcome: channels.Later, Code: "timeout", Detail: s.Name + ": there was no time to connect"}, ""
	}
	req, err := s.Request(ctx, m)
	if unprepared := (*Unprepared)(nil); errors.As(err, &unprepared) {
		return unprepared.Result, unprepared.Words
	} else if err != nil { // it could be anything, and quote anything
		return channels.Result{Outcome: channels.Broken, Code: "request", Detail: s.Name + ": the request could not be made"}, err.Error()
	}
	return s.Call(req)
}

// Call makes a call and reads its answer.
func (s Sender) Call(req *http.Request) (result channels.Result, words string) {
	answer, err := s.Client.Do(req)
	if failure := (*Failure)(nil); errors.As(err, &failure) {
		return failure.Result(s.Name, s.Lost), failure.Words()
	}
	result = s.Read(answer)
	if result.Code == "" && result.Outcome != channels.Accepted {
		result.Code = "http_" + strconv.Itoa(answer.Status)
	}
	if result.Detail == "" && result.Outcome != channels.Accepted {
		result.Detail = s.Name + ": answered " + strconv.Itoa(answer.Status)
		if status := "http_" + strconv.Itoa(answer.Status); result.Code != status {
			result.Detail += " (" + result.Code + ")"
		}
	}
	return result, answer.Words()
}

// RetryAfter reads the header of that name, which holds seconds or a date (RFC
// 9110, section 10.2.3); zero where it holds neither. A date in the past is now.
func RetryAfter(a Answer, now time.Time) time.Time {
	header := a.Header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(header, 10, 31); err == nil {
		return now.Add(time.Duration(seconds) * time.Second)
	}
	date, err := http.ParseTime(header)
	switch {
	case err != nil:
		return time.Time{}
	case date.Before(now):
		return now
	}
	return date
}

var (
	word = regexp.MustCompile(`^[a-z][a-z_]{1,39}$|^[A-Z][A-Z_]{1,39}$`)
	ref  = regexp.MustCompile(`^[A-Za-z0-9._:/@%=+-]{1,200}$`)
)

// Word gives text if it looks like a code that a provider has words for, and so
// like nothing that quotes a message; else "".
func Word(text string) string {
	if word.MatchString(text) {
		return text
	}
	return ""
}

// Ref gives text if it looks like a provider's id of a message; else "".
func Ref(text string) string {
	if ref.MatchString(text) {
		return text
	}
	return ""
}

// Host is the host of a URL that was checked, to name who is called.
func Host(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return ""
	}
	return u.Host
}
