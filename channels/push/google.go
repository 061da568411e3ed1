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
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	"golang.org/x/oauth2/jwt"
	"golang.org/x/sync/singleflight"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/outgoing"
)

// GoogleTokenURL is where Google gives tokens to service accounts.
const GoogleTokenURL = "https://oauth2.googleapis.com/token" //nolint:gosec // no secret

const scope = "https://www.googleapis.com/auth/firebase.messaging"

var projectID = regexp.MustCompile(`^[a-z0-9][a-z0-9:.-]{1,100}$`)

// parseAccount reads a service account's file. One that would have its assertion
// sent elsewhere than to tokenURL is refused: whoever wrote such a file would be
// handed what signs us in. Errors quote nothing of it.
func parseAccount(file []byte, tokenURL string) (*jwt.Config, string, error) {
	var said struct {
		Type     string `json:"type"`
		Project  string `json:"project_id"`
		TokenURI string `json:"token_uri"`
		Universe string `json:"universe_domain"`
	}
	if json.Unmarshal(file, &said) != nil || said.Type != "service_account" {
		return nil, "", errors.New("the file is not a service account's")
	}
	switch {
	case said.TokenURI != GoogleTokenURL && said.TokenURI != tokenURL:
		return nil, "", errors.New("the service account's token_uri is not Google's: the file points elsewhere")
	case said.Universe != "" && said.Universe != "googleapis.com":
		return nil, "", errors.New("the service account's universe_domain is not Google's: the file points elsewhere")
	case !projectID.MatchString(said.Project):
		return nil, "", errors.New("the service account has no project_id")
	}
	account, err := google.JWTConfigFromJSON(file, scope)
	if err != nil {
		return nil, "", errors.New("the service account can't be read")
	}
	block, _ := pem.Decode(account.PrivateKey)
	if block == nil || account.Email == "" {
		return nil, "", errors.New("the service account has no private_key or no client_email")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if _, isRSA := key.(*rsa.PrivateKey); err != nil || !isRSA {
		return nil, "", errors.New("the service account's private_key is no RSA key")
	}
	account.TokenURL = tokenURL
	return account, said.Project, nil
}

const (
	tokenTime  = 20 * time.Second // bounds asking for a token
	tokenSpare = time.Minute      // that a token must be good for to be used
)

// tokens keeps an access token, and asks for another when it ends; never for two
// at once.
type tokens struct {
	account *jwt.Config
	http    *http.Client
	now     func() time.Time
	asking  singleflight.Group

	mu      sync.Mutex
	current *oauth2.Token
}

// get gives a token; kept tells that it is not a new one.
func (t *tokens) get(ctx context.Context) (token string, kept bool, err error) {
	if token := t.valid(); token != "" {
		return token, true, nil
	}
	// Whoever asks first must not take it with them when they go.
	answer := t.asking.DoChan("", func() (any, error) { return t.ask(context.WithoutCancel(ctx)) })
	select {
	case <-ctx.Done():
		return "", false, ctx.Err()
	case a := <-answer:
		if a.Err != nil {
			return "", false, a.Err
		}
		token, ok := a.Val.(string)
		if !ok {
			return "", false, errors.New("there is no token")
		}
		return token, false, nil
	}
}

func (t *tokens) valid() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current == nil || t.now().Add(tokenSpare).After(t.current.Expiry) {
		return ""
	}
	return t.current.AccessToken
}

func (t *tokens) ask(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, tokenTime)
	defer cancel()
	call := &tokenCall{ctx: ctx, transport: t.http.Transport}
	client := &http.Client{Transport: call, CheckRedirect: t.http.CheckRedirect}
	token, err := t.account.TokenSource(context.WithValue(ctx, oauth2.HTTPClient, client)).Token()
	switch {
	case call.failed != nil:
		return "", fmt.Errorf("ask for an access token: %w", call.failed)
	case err != nil:
		return "", fmt.Errorf("ask for an access token: %w", err)
	case token.AccessToken == "":
		return "", errors.New("ask for an access token: the answer has none")
	}
	if token.Expiry.IsZero() {
		token.Expiry = t.now().Add(tokenSpare) // used once
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.current = token
	return token.AccessToken, nil
}

// tokenCall is one call, under a context of ours: the library takes none for it, and
// keeps no more than the text of what failed.
type tokenCall struct {
	ctx       context.Context
	transport http.RoundTripper
	failed    *outgoing.Failure
}

func (c *tokenCall) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := c.transport.RoundTrip(req.WithContext(c.ctx))
	errors.As(err, &c.failed)
	return resp, err
}

// forget drops a token that was refused.
func (t *tokens) forget(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current != nil && t.current.AccessToken == token {
		t.current = nil
	}
}

// refused says what it means that there is no token. No message was sent.
func refused(err error) (channels.Result, string) {
	var (
		answer *oauth2.RetrieveError
		failed *outgoing.Failure
	)
	result := channels.Result{Outcome: channels.Later, Code: "no_token", Detail: "fcm: no access token could be had"}
	switch {
	case errors.As(err, &answer) && answer.Response != nil:
		result.Detail = fmt.Sprintf("fcm: answered %d when asked for an access token", answer.Response.StatusCode)
		if status := answer.Response.StatusCode; status < 500 && status != http.StatusTooManyRequests && status != http.StatusRequestTimeout {
			result.Outcome = channels.Broken
		}
	case errors.As(err, &failed) && failed.Forbidden:
		result.Outcome, result.Code, result.Detail = channels.Broken, "forbidden_address", "fcm: "+failed.Error()
	case errors.As(err, &failed), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
	default: // an answer that makes no sense
		result.Outcome = channels.Broken
	}
	if failed != nil {
		return result, failed.Words()
	}
	return result, err.Error()
}
