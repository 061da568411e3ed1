package sms_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/belltower/belltower/channels/channeltest"
	"github.com/belltower/belltower/channels/sms"
)

func TestSegments(t *testing.T) {
	for _, row := range []struct {
		text     string
		encoding sms.Encoding
		segments int
	}{
		{"", sms.GSM7, 1},
		{strings.Repeat("a", 160), sms.GSM7, 1},
		{strings.Repeat("a", 161), sms.GSM7, 2},
		{strings.Repeat("a", 306), sms.GSM7, 2},
		{strings.Repeat("a", 307), sms.GSM7, 3},
		{strings.Repeat("€", 80), sms.GSM7, 1},
		{strings.Repeat("€", 152), sms.GSM7, 2}, // an escape is not parted from its character
		{strings.Repeat("€", 153), sms.GSM7, 3},
		{strings.Repeat("ç", 70), sms.UCS2, 1}, // Ç is in GSM-7, ç is not
		{strings.Repeat("ç", 71), sms.UCS2, 2},
		{strings.Repeat("Ç", 160), sms.GSM7, 1},
		{strings.Repeat("🔔", 35), sms.UCS2, 1},
		{strings.Repeat("🔔", 66), sms.UCS2, 2}, // nor the halves of a pair
		{strings.Repeat("🔔", 67), sms.UCS2, 3},
		{"\t", sms.UCS2, 1}, {"`", sms.UCS2, 1}, {"“", sms.UCS2, 1}, {"[]{}~^|\\\f\r\n", sms.GSM7, 1},
	} {
		encoding, segments := sms.Segments(row.text)
		require.Equal(t, row.encoding, encoding, row.text)
		require.Equal(t, row.segments, segments, row.text)
	}
}

// The vectors were computed by an implementation of Twilio's own.
func TestSegmentsOfTheVectors(t *testing.T) {
	var vectors struct {
		Cases []struct {
			Text     string
			Encoding sms.Encoding
			Segments int
		}
	}
	require.NoError(t, json.Unmarshal(channeltest.Shared(t, "twilio/sms_segments.json"), &vectors))
	require.Greater(t, len(vectors.Cases), 20)
	for _, c := range vectors.Cases {
		encoding, segments := sms.Segments(c.Text)
		require.Equal(t, c.Encoding, encoding, c.Text)
		require.Equal(t, c.Segments, segments, c.Text)
	}
}

// More text never takes fewer parts.
func TestSegmentsGrow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.RuneFrom([]rune("aé€ç🔔\n")), 0, 400, -1).Draw(t, "text")
		more := text + rapid.StringOfN(rapid.RuneFrom([]rune("a€🔔")), 1, 20, -1).Draw(t, "more")
		_, before := sms.Segments(text)
		_, after := sms.Segments(more)
		if after < before {
			t.Fatalf("%d parts, and with more %d", before, after)
		}
	})
}
