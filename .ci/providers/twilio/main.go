// Command twilio sends one text message by Twilio's own client: BASE ACCOUNT TOKEN,
// and the message's form on standard input. What it sends is compared with what
// Belltower sends.
package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"

	"github.com/twilio/twilio-go/client"
	api "github.com/twilio/twilio-go/rest/api/v2010"
)

// elsewhere sends what is meant for Twilio to another server.
type elsewhere struct{ to *url.URL }

func (e elsewhere) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Scheme, r.URL.Host, r.Host = e.to.Scheme, e.to.Host, ""
	return http.DefaultTransport.RoundTrip(r)
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("takes BASE ACCOUNT TOKEN, and was given %d arguments", len(args))
	}
	base, err := url.Parse(args[0])
	if err != nil {
		return err
	}
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	form, err := url.ParseQuery(string(text))
	if err != nil {
		return err
	}
	validity, err := strconv.Atoi(form.Get("ValidityPeriod"))
	if err != nil {
		return err
	}
	c := &client.Client{Credentials: client.NewCredentials(args[1], args[2]), HTTPClient: &http.Client{Transport: elsewhere{base}}}
	c.SetAccountSid(args[1])
	params := &api.CreateMessageParams{}
	params.SetTo(form.Get("To")).SetFrom(form.Get("From")).SetBody(form.Get("Body")).
		SetValidityPeriod(validity).SetSmartEncoded(form.Get("SmartEncoded") == "true")
	message, err := api.NewApiServiceWithClient(c).CreateMessage(params)
	if err != nil {
		return err
	}
	if message.Sid == nil {
		return fmt.Errorf("the answer has no sid")
	}
	fmt.Println(*message.Sid)
	return nil
}
