package email

import (
	"fmt"
	"net/http"
	"net/mail"
	"regexp"
	"strings"
	"time"

	"github.com/belltower/belltower/channels"
)

// Receive reads a mail that came to the bounce address: that the one we sent
// didn't arrive (RFC 3464), or that its recipient complained (RFC 5965). It is
// verified by the tag that only we can make. Other answers, delays and
// out-of-office notes are no news. Nothing is ever answered.
func (c *Channel) Receive(_ *http.Request, body []byte) ([]channels.Receipt, error) {
	if c.bounces == nil {
		return nil, fmt.Errorf("email: %w: no bounce address is set", channels.ErrForged)
	}
	body = body[:min(len(body), maxBounce)]
	if line, rest, _ := strings.Cut(string(body), "\n"); strings.HasPrefix(line, "From ") { // of an mbox
		body = []byte(rest)
	}
	header, content := readFields(body)
	if len(header) == 0 {
		return nil, fmt.Errorf("email: %w: it is no mail", channels.ErrUnreadable)
	}
	report, unreadable := readReport(header, content)
	id := c.sender(header, report)
	switch {
	case id == "":
		return nil, fmt.Errorf("email: %w: it was sent to no bounce address of ours", channels.ErrForged)
	case unreadable != nil:
		return nil, fmt.Errorf("email: %w: %w", channels.ErrUnreadable, unreadable)
	}
	receipt, ok := report.receipt()
	if !ok {
		return nil, nil
	}
	receipt.MessageID, receipt.Kind = id, channels.Email
	if receipt.At = report.at(header); receipt.At.IsZero() || receipt.At.After(c.o.Now()) {
		receipt.At = c.o.Now()
	}
	return []channels.Receipt{receipt}, nil
}

// sender gives the notification whose mail came back; empty: none of ours did.
func (c *Channel) sender(header fields, r report) (id string) {
	for _, name := range []string{"to", "delivered-to", "x-original-to", "envelope-to", "x-envelope-to"} {
		for _, value := range header[name] {
			if id := c.bounces.find(value); id != "" {
				return id
			}
		}
	}
	if len(r.blocks) == 0 {
		return ""
	}
	if id := c.bounces.findID(r.blocks[0].first("original-envelope-id")); id != "" {
		return id
	}
	return c.bounces.find(r.blocks[0].first("original-mail-from"))
}

// receipt gives the news in a report; ok tells whether there is any.
func (r report) receipt() (_ channels.Receipt, ok bool) {
	if r.kind == complaintMedia {
		kind := ""
		if len(r.blocks) > 0 {
			kind = strings.ToLower(r.blocks[0].first("feedback-type"))
		}
		return channels.Receipt{News: channels.Complained, Code: "abuse", Detail: "email: the recipient called it unwanted"}, kind == "abuse"
	}
	var receipt channels.Receipt
	for _, block := range r.blocks {
		d := readDelivery(block)
		switch news := d.news(); {
		case news == 0:
			continue
		// Of what an address was expanded into, all is dead or the address isn't.
		case receipt.News == 0, receipt.News == channels.Delivered, receipt.News == channels.AddressDied && news == channels.Bounced:
			one := receipt.News == 0
			receipt = channels.Receipt{News: news, Code: d.code()}
			if one {
				receipt.To = d.to
			}
		}
	}
	switch receipt.News {
	case 0:
		return channels.Receipt{}, false
	case channels.Delivered:
		receipt.Detail = "email: the mail was delivered"
	default:
		receipt.Detail = "email: the mail came back"
	}
	if receipt.Code != "" {
		receipt.Detail += " with " + receipt.Code
	}
	if host := r.reporter(); host != "" {
		receipt.Detail += ", says " + host
	}
	return receipt, true
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9.-]{1,253}$`)

// reporter is the server that says so; empty: it doesn't name itself as one does.
func (r report) reporter() string {
	_, host, _ := strings.Cut(r.blocks[0].first("reporting-mta"), ";")
	if host = strings.TrimSpace(host); !hostName.MatchString(host) {
		return ""
	}
	return host
}

// at is when it happened, as far as the mail says.
func (r report) at(header fields) time.Time {
	texts := make([]string, 0, len(r.blocks)+1)
	for _, block := range r.blocks {
		texts = append(texts, block.first("last-attempt-date"))
	}
	for _, text := range append(texts, header.first("date")) {
		if at, err := mail.ParseDate(text); err == nil {
			return at.UTC()
		}
	}
	return time.Time{}
}

// delivery is what a report says of one recipient (RFC 3464, section 2.3).
type delivery struct {
	action string
	status string // of RFC 3463; empty: it isn't told
	reply  int    // of SMTP; 0: it isn't told
	to     string // whom we sent to, else whom it was meant for in the end
}

var (
	statusCode = regexp.MustCompile(`^([245]\.\d{1,3}\.\d{1,3})\b`)
	smtpReply  = regexp.MustCompile(`(?:^|[\s;:])([245]\d\d)[ -](?:([245]\.\d{1,3}\.\d{1,3})\b)?`)
)

func readDelivery(f fields) delivery {
	d := delivery{action: strings.ToLower(f.first("action")), status: statusCode.FindString(f.first("status"))}
	d.action, _, _ = strings.Cut(d.action, " ") // a comment
	if reply := smtpReply.FindStringSubmatch(f.first("diagnostic-code")); reply != nil {
		_, _ = fmt.Sscan(reply[1], &d.reply)
		// Some know the remote server's status and report 5.0.0.
		if said := reply[2]; said != "" && (d.status == "" || strings.HasSuffix(d.status, ".0.0") && said[0] == d.status[0]) {
			d.status = said
		}
	}
	for _, name := range []string{"original-recipient", "final-recipient"} {
		if _, to, ok := strings.Cut(f.first(name), ";"); ok && d.to == "" {
			if parsed, err := parseAddress(strings.Trim(to, " \t<>")); err == nil {
				d.to = parsed.String()
			}
		}
	}
	return d
}

// news is what it means; 0: nothing yet.
func (d delivery) news() channels.News {
	action := d.action
	if action == "" && d.status != "" {
		action = map[byte]string{'2': "delivered", '4': "delayed", '5': "failed"}[d.status[0]]
	}
	switch {
	case action == "delivered":
		return channels.Delivered
	case action != "failed":
		return 0 // delayed: the server goes on trying. relayed, expanded: it doesn't know
	case deadAddress(d.reply, d.status):
		return channels.AddressDied
	}
	return channels.Bounced
}

func (d delivery) code() string {
	if d.reply == 0 {
		return d.status
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s", d.reply, d.status))
}
