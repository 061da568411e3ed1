package push

import (
	"crypto/ecdh"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/belltower/belltower/channels/channeltest"
)

// The example of RFC 8291 (section 5 and appendix A), which has the private keys of
// both sides.
const (
	rfc8291Text       = "When I grow up, I want to be a watermelon"
	rfc8291OurPrivate = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"
	rfc8291Browsers   = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
	rfc8291Auth       = "BTBZMqHH6r4Tts7J_aSIgg"
	rfc8291Salt       = "DGv6ra1nlYgDCS1FRnbzlw"
	rfc8291Body       = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)

func decoded(t *testing.T, text string) []byte {
	t.Helper()
	data, err := decode(text)
	require.NoError(t, err)
	return data
}

func TestEncryptsAsTheRFC(t *testing.T) {
	own, err := ecdh.P256().NewPrivateKey(decoded(t, rfc8291OurPrivate))
	require.NoError(t, err)
	to, err := readSubscription(`{"endpoint": "https://push.example.net/push/JzLQ3raZJfFBR0aqvOMsLrt54w4rJUsV", "keys": {"p256dh": "` + rfc8291Browsers + `", "auth": "` + rfc8291Auth + `"}}`)
	require.NoError(t, err)
	body, err := encrypt([]byte(rfc8291Text), 0, to, own, decoded(t, rfc8291Salt))
	require.NoError(t, err)
	require.Equal(t, rfc8291Body, encode(body))
}

// The vectors here are those that all senders are held to.
func TestEncryptionIsOfTheVectors(t *testing.T) {
	var vectors struct {
		RFC8291 struct {
			Plaintext  string `json:"plaintext"`
			AsPrivate  string `json:"as_private"`
			UAPublic   string `json:"ua_public"`
			Salt       string `json:"salt"`
			AuthSecret string `json:"auth_secret"`
			Body       string `json:"body"`
		}
		Rules struct {
			Plain int `json:"max_plaintext_at_4096"`
		}
	}
	require.NoError(t, json.Unmarshal(channeltest.Shared(t, "webpush/vectors.json"), &vectors))
	v := vectors.RFC8291
	require.Equal(t, []string{rfc8291Text, rfc8291OurPrivate, rfc8291Browsers, rfc8291Salt, rfc8291Auth, rfc8291Body},
		[]string{v.Plaintext, v.AsPrivate, v.UAPublic, v.Salt, v.AuthSecret, v.Body})
	require.Equal(t, longestPlain, vectors.Rules.Plain)
}

// Padding leaves few lengths to tell apart, and every text its place.
func TestPadding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		length := rapid.IntRange(0, longestPlain).Draw(t, "length")
		padded := length + padding(length)
		require.GreaterOrEqual(t, padded, length)
		require.LessOrEqual(t, padded, longestPlain)
		require.True(t, padded%512 == 0 || padded == longestPlain, padded)
	})
}

func TestOrigins(t *testing.T) {
	for endpoint, want := range map[string]string{
		"https://Push.Example.net/x":      "https://push.example.net",
		"https://push.example.net:443/x":  "https://push.example.net",
		"https://push.example.net:4430/x": "https://push.example.net:4430",
		"http://127.0.0.1:80/x":           "http://127.0.0.1",
		"http://127.0.0.1:8443/x":         "http://127.0.0.1:8443",
	} {
		s, err := readSubscription(`{"endpoint": "` + endpoint + `", "keys": {"p256dh": "` + rfc8291Browsers + `", "auth": "` + rfc8291Auth + `=="}}`)
		require.NoError(t, err)
		require.Equal(t, want, s.origin())
	}
}
