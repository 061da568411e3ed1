package push

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	"golang.org/x/oauth2/jwt"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/outgoing"
)

// GoogleTokenURL is where Google gives access tokens.
const GoogleTokenURL = google.JWTTokenURL

// scope is what we ask to be allowed.
const scope = "https://www.googleapis.com/auth/firebase.messaging"

// Account is the service account of a Firebase project.
type Account struct {
	Project string
	config  *jwt.Config
}

var projectID = regexp.MustCompile(`^[a-z0-9][a-z0-9.:-]{0,99}$`)

// ReadAccount reads the JSON file of a service account's key. One that would have
// us ask anybody but tokenURL for access tokens is refused: who wrote it would get
// proofs of who we are. Errors don't quote the file.
func ReadAccount(file []byte, tokenURL string) (Account, error) {
	config, err := google.JWTConfigFromJSON(file, scope)
	var described struct {
		ProjectID string `json:"project_id"`
		Universe  string `json:"universe_domain"`
	}
	if err != nil || json.Unmarshal(file, &described) != nil {
		return Account{}, errors.New(`it is not the JSON key of a service account, with "type": "service_account"`)
	}
	switch {
	case config.TokenURL != tokenURL:
		return Account{}, fmt.Errorf("its token_uri is not %s, where access tokens are to come from", tokenURL)
	case described.Universe != "" && described.Universe != "googleapis.com":
		return Account{}, errors.New("its universe_domain is not googleapis.com")
	case !projectID.MatchString(described.ProjectID):
		return Account{}, errors.New("its project_id is none")
	case config.Email == "":
		return Account{}, errors.New("it has no client_email")
	case !isRSA(config.PrivateKey):
		return Account{}, errors.New("its private_key is not an RSA key in PEM")
	}
	return Account{Project: described.ProjectID, config: config}, nil
}

func isRSA(text []byte) bool {
	block, _ := pem.Decode(text)
	if block == nil {
		return false
	}
	if _, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return true
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	_, ok := key.(*rsa.PrivateKey)
	return err == nil && ok
}

// access is an access token; kept says that it wasn't got just now.
type access struct {
	token string
	kept  bool
}

// tokens gets access tokens and keeps the last one. One caller asks at a time; the
// others wait for what it gets.
type tokens struct {
	account Account
	client  *outgoing.Client
	now     func() time.Time

	turn  chan struct{} // holds a token for whoever uses what is below; waiting for it heeds contexts
	token string
	until time.Time
}

func newTokens(account Account, client *outgoing.Client, now func() time.Time) *tokens {
	return &tokens{account: account, client: client, now: now, turn: make(chan struct{}, 1)}
}

// early is how long before its end a token is no longer used: it has to get there.
const early = time.Minute

// get gives a token that is good for a minute and isn't refused. Its errors are of
// *outgoing.Unprepared.
func (t *tokens) get(ctx context.Context, refused string) (access, error) {
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return access{}, &outgoing.Unprepared{Result: channels.Result{
			Outcome: channels.Later, Code: "timeout", Detail: "fcm: there was no time to get an access token",
		}}
	}
	if t.token != "" && t.token != refused && t.now().Before(t.until) {
		return access{token: t.token, kept: true}, nil
	}
	asked := t.now()
	calls := &boundTransport{ctx: ctx, next: t.client.HTTP().Transport}
	withClient := context.WithValue(ctx, oauth2.HTTPClient, &http.Client{
		Transport:     calls,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	})
	got, err := t.account.config.TokenSource(withClient).Token()
	if err != nil || got.AccessToken == "" {
		return access{}, untaken(err, calls.failure)
	}
	// Its Expiry is by the system's clock, and ours may be another.
	t.token, t.until = got.AccessToken, asked.Add(time.Until(got.Expiry)-early)
	return access{token: t.token}, nil
}

// boundTransport binds the calls of a library that takes no context to one, and
// keeps what went wrong, which the library makes text of.
type boundTransport struct {
	ctx     context.Context //nolint:containedctx // that is what it is for
	next    http.RoundTripper
	failure *outgoing.Failure
}

func (b *boundTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(req.WithContext(b.ctx))
	errors.As(err, &b.failure)
	return resp, err
}

// untaken says what it means that no access token came: no message was sent.
func untaken(err error, failure *outgoing.Failure) error {
	var refusal *oauth2.RetrieveError
	switch {
	case failure != nil:
		result := failure.Result("fcm: access token", channels.Later)
		return &outgoing.Unprepared{Result: result, Words: failure.Words()}
	case errors.As(err, &refusal):
		return refusedToken(refusal)
	}
	return &outgoing.Unprepared{
		Result: channels.Result{Outcome: channels.Broken, Code: "token_answer", Detail: "fcm: the answer to our request for an access token has none in it"},
	}
}

func refusedToken(refusal *oauth2.RetrieveError) error {
	var said struct {
		Error string `json:"error"`
	}
	if err := json.Unmarshal(refusal.Body, &said); err != nil { // what stands before Google answers in HTML
		said.Error = ""
	}
	status := refusal.Response.StatusCode
	result := channels.Result{Outcome: channels.Broken, Code: outgoing.Word(said.Error)}
	if result.Code == "" {
		result.Code = fmt.Sprintf("token_http_%d", status)
	}
	if status == http.StatusTooManyRequests || status >= 500 {
		result.Outcome = channels.Later
	}
	result.Detail = fmt.Sprintf("fcm: our request for an access token was answered %d (%s)", status, result.Code)
	answer := outgoing.Answer{Status: status, Body: refusal.Body}
	return &outgoing.Unprepared{Result: result, Words: answer.Words()}
}
