package slack

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/belltower/belltower/channels"
)

// text is what Slack shows. Escaped, nobody's name or event can mention anybody or
// hide where a link goes.
func text(m channels.Message) string {
	text := escape.Replace(string([]rune(m.Text)))
	if m.Name == "" {
		return text
	}
	return escape.Replace(string([]rune(m.Name))) + ": " + text
}

var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// check refuses what Slack would not take.
func check(m channels.Message) error {
	const longest = 40_000 // characters; Slack cuts what is longer (chat.postMessage, "Truncating content")
	switch {
	case strings.TrimSpace(m.To) == "":
		return errors.New("slack: the message has no address")
	case strings.TrimSpace(m.Text) == "":
		return errors.New("slack: the message has no text")
	case utf8.RuneCountInString(text(m)) > longest:
		return fmt.Errorf("slack: the message is longer than %d characters", longest)
	}
	return nil
}

// payload is a message for either way. Without markup, links' previews and names'
// resolution, it is text and nothing else.
type payload struct {
	Channel     string    `json:"channel,omitempty"` // a webhook has one of its own
	Text        string    `json:"text"`
	Markdown    bool      `json:"mrkdwn"`
	Parse       string    `json:"parse"`
	LinkNames   bool      `json:"link_names"`
	UnfurlLinks bool      `json:"unfurl_links"`
	UnfurlMedia bool      `json:"unfurl_media"`
	Metadata    *metadata `json:"metadata,omitempty"` // a webhook has none
}

func payloadOf(channel string, m channels.Message) payload {
	return payload{Channel: channel, Text: text(m), Parse: "none"}
}
