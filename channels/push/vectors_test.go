package push

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/channels/channeltest"
)

func decoded(t *testing.T, text string) []byte {
	t.Helper()
	b, err := decodeBase64(text)
	require.NoError(t, err)
	return b
}

// The example of RFC 8291 (section 5), byte for byte.
func TestEncryptionOfTheVectors(t *testing.T) {
	var v struct {
		RFC8291 struct {
			Plaintext string
			ASPrivate string `json:"as_private"`
			UAPublic  string `json:"ua_public"`
			Salt      string
			Secret    string `json:"auth_secret"`
			Body      string
		}
		Rules struct {
			Max int `json:"max_plaintext_at_4096"`
		}
	}
	require.NoError(t, json.Unmarshal(channeltest.Shared(t, "webpush/vectors.json"), &v))
	checkExample(t, v.RFC8291.Plaintext, v.RFC8291.ASPrivate, v.RFC8291.UAPublic, v.RFC8291.Salt, v.RFC8291.Secret, v.RFC8291.Body)
	require.Equal(t, maxPlaintext, v.Rules.Max)
}

// The same from the RFC itself, for where the vectors aren't.
func TestEncryption(t *testing.T) {
	checkExample(t, "When I grow up, I want to be a watermelon", "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw",
		"BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4", "DGv6ra1nlYgDCS1FRnbzlw", "BTBZMqHH6r4Tts7J_aSIgg",
		"DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN")
	require.Equal(t, 3993, maxPlaintext)
}

func checkExample(t *testing.T, plaintext, asPrivate, uaPublic, salt, secret, body string) {
	t.Helper()
	s, err := parseSubscription(fmt.Sprintf(`{"endpoint":"https://push.example.net/x","expirationTime":null,"keys":{"p256dh":%q,"auth":%q}}`, uaPublic, secret))
	require.NoError(t, err)
	ours, err := ecdh.P256().NewPrivateKey(decoded(t, asPrivate))
	require.NoError(t, err)
	sealed, err := s.seal([]byte(plaintext), ours, decoded(t, salt))
	require.NoError(t, err)
	require.Equal(t, body, base64.RawURLEncoding.EncodeToString(sealed))
	once, err := s.encrypt([]byte(plaintext))
	require.NoError(t, err)
	again, err := s.encrypt([]byte(plaintext))
	require.NoError(t, err)
	require.NotEqual(t, once, again, "keys and salt are used once")
}

// verifyVAPID reads an authorization as a push service does, and gives its claims.
func verifyVAPID(t *testing.T, header string) (claims struct {
	Aud, Sub string
	Exp      int64
}) {
	t.Helper()
	rest, ok := strings.CutPrefix(header, "vapid t=")
	require.True(t, ok, header)
	token, key, ok := strings.Cut(rest, ", k=")
	require.True(t, ok, header)
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), decoded(t, key))
	require.NoError(t, err)
	parts := strings.Split(token, ".")
	require.Len(t, parts, 3)
	signature := decoded(t, parts[2])
	require.Len(t, signature, 64)
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	require.True(t, ecdsa.Verify(public, sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])))
	require.JSONEq(t, `{"typ":"JWT","alg":"ES256"}`, string(decoded(t, parts[0])))
	require.NoError(t, json.Unmarshal(decoded(t, parts[1]), &claims))
	return claims
}

// What reads our authorizations reads that of RFC 8292 (section 2.4) too.
func TestAuthorizationOfTheVectors(t *testing.T) {
	var v struct {
		RFC8292 struct {
			Authorization, Aud, Sub string
			Exp                     int64
		}
	}
	require.NoError(t, json.Unmarshal(channeltest.Shared(t, "webpush/vectors.json"), &v))
	claims := verifyVAPID(t, v.RFC8292.Authorization)
	require.Equal(t, v.RFC8292.Aud, claims.Aud)
	require.Equal(t, v.RFC8292.Sub, claims.Sub)
	require.Equal(t, v.RFC8292.Exp, claims.Exp)
}

func TestAuthorization(t *testing.T) {
	key, err := NewVAPIDKey()
	require.NoError(t, err)
	now := time.Date(2031, 5, 6, 16, 0, 0, 0, time.UTC)
	for endpoint, aud := range map[string]string{
		"https://push.example.net/x/y?z":       "https://push.example.net",
		"https://Push.Example.net:443/x":       "https://push.example.net",
		"https://push.example.net:8443/x":      "https://push.example.net:8443",
		"https://push.example.net:4430/x:443/": "https://push.example.net:4430",
		"http://127.0.0.1:8090/x":              "http://127.0.0.1:8090",
	} {
		u, err := url.Parse(endpoint)
		require.NoError(t, err)
		header, err := key.authorize(u, "mailto:bells@example.org", now)
		require.NoError(t, err)
		claims := verifyVAPID(t, header)
		require.Equal(t, aud, claims.Aud)
		require.Equal(t, "mailto:bells@example.org", claims.Sub, "once, and not mailto:mailto:")
		require.LessOrEqual(t, claims.Exp, now.Add(24*time.Hour).Unix())
		require.Greater(t, claims.Exp, now.Add(time.Hour).Unix())
	}
}

func TestKeys(t *testing.T) {
	key, err := NewVAPIDKey()
	require.NoError(t, err)
	text, err := key.Private()
	require.NoError(t, err)
	public, err := key.Public()
	require.NoError(t, err)
	for _, spelled := range []string{text, text + "="} {
		again, err := ParseVAPIDKey(spelled)
		require.NoError(t, err)
		same, err := again.Public()
		require.NoError(t, err)
		require.Equal(t, public, same)
	}
	for _, wrong := range []string{"", "s3cr3t", text[:20], text + text, base64.RawURLEncoding.EncodeToString(make([]byte, 32)), "%%%"} {
		_, err := ParseVAPIDKey(wrong)
		require.Error(t, err, wrong)
		if wrong != "" {
			require.NotContains(t, err.Error(), wrong)
		}
	}
}

// Apple refuses subjects that are no address anybody can write to.
func TestSubjects(t *testing.T) {
	for _, fine := range []string{"mailto:bells@example.org", "https://bells.example.org", "https://bells.example.org/contact"} {
		require.NoError(t, checkSubject(fine), fine)
	}
	for _, wrong := range []string{
		"", "bells@example.org", "mailto:", "mailto:mailto:bells@example.org", "mailto:Bells <bells@example.org>", "mailto:bells@localhost", "mailto:bells@x.local",
		"mailto:bells@x.invalid", "mailto:bells@host", "mailto:a@example.org?subject=x", "https://localhost", "https://", "http://bells.example.org", "ftp://x.org",
	} {
		require.Error(t, checkSubject(wrong), wrong)
	}
}

func TestTopic(t *testing.T) {
	require.Equal(t, "ypeBEsobvcr6wjGzmiPcTaeG7_gUfE5y", topic("a"), "the same in every process")
	require.NotEqual(t, topic("a"), topic("b"))
	require.Regexp(t, `^[A-Za-z0-9_-]{32}$`, topic("3f8e1f0a-9d53-5c58-8d2b-6a1f2f0c7e11"))
}
