package push_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/channels/channeltest"
)

// browser is the other end of web push: it subscribes, and reads what comes, after
// the letter of RFC 8291 and with none of our own code.
type browser struct {
	private *ecdh.PrivateKey
	auth    []byte
}

func newBrowser(t *testing.T) browser {
	t.Helper()
	private, err := ecdh.P256().GenerateKey(rand.Reader)
	require.NoError(t, err)
	auth := make([]byte, 16)
	_, _ = rand.Read(auth)
	return browser{private, auth}
}

func base64url(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

func fromBase64url(t *testing.T, text string) []byte {
	t.Helper()
	data, err := base64.RawURLEncoding.DecodeString(text)
	require.NoError(t, err)
	return data
}

func (b browser) subscription(t *testing.T, endpoint string) string {
	t.Helper()
	text, err := json.Marshal(map[string]any{
		"endpoint": endpoint, "expirationTime": nil,
		"keys": map[string]string{"p256dh": base64url(b.private.PublicKey().Bytes()), "auth": base64url(b.auth)},
	})
	require.NoError(t, err)
	return string(text)
}

func mac(key []byte, parts ...string) []byte {
	h := hmac.New(sha256.New, key)
	for _, part := range parts {
		h.Write([]byte(part))
	}
	return h.Sum(nil)
}

// decrypt reads a body of one record (RFC 8188, section 2, and RFC 8291, section 3.4).
func (b browser) decrypt(body string) (string, error) {
	if len(body) < 21 {
		return "", errors.New("the header is too short")
	}
	salt, size, idLength := body[:16], binary.BigEndian.Uint32([]byte(body[16:20])), int(body[20])
	if len(body) < 21+idLength || uint32(len(body)-21-idLength) > size {
		return "", fmt.Errorf("%d bytes are no record of %d", len(body), size)
	}
	theirs, err := ecdh.P256().NewPublicKey([]byte(body[21 : 21+idLength]))
	if err != nil {
		return "", err
	}
	shared, err := b.private.ECDH(theirs)
	if err != nil {
		return "", err
	}
	prkKey := mac(b.auth, string(shared))
	ikm := mac(prkKey, "WebPush: info\x00", string(b.private.PublicKey().Bytes()), string(theirs.Bytes()), "\x01")
	prk := mac([]byte(salt), string(ikm))
	key := mac(prk, "Content-Encoding: aes128gcm\x00\x01")[:16]
	nonce := mac(prk, "Content-Encoding: nonce\x00\x01")[:12]
	block, err := aes.NewCipher(key)
	if err != nil {
		return "", err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return "", err
	}
	record, err := gcm.Open(nil, nonce, []byte(body[21+idLength:]), nil)
	if err != nil {
		return "", err
	}
	text, last := strings.CutSuffix(strings.TrimRight(string(record), "\x00"), "\x02")
	if !last {
		return "", errors.New("the record is not the last")
	}
	return text, nil
}

// claims are what a VAPID header proves, once its signature holds (RFC 8292).
type claims struct {
	Aud string
	Exp int64
	Sub string
}

func verify(authorization string) (c claims, public string, err error) {
	rest, ok := strings.CutPrefix(authorization, "vapid t=")
	token, public, ok2 := strings.Cut(rest, ", k=")
	parts := strings.Split(token, ".")
	if !ok || !ok2 || len(parts) != 3 {
		return c, "", errors.New("it is no vapid header")
	}
	var decoded [4][]byte
	for i, part := range append(parts, public) {
		if decoded[i], err = base64.RawURLEncoding.DecodeString(part); err != nil {
			return c, "", err
		}
	}
	var header struct{ Typ, Alg string }
	if err := errors.Join(json.Unmarshal(decoded[0], &header), json.Unmarshal(decoded[1], &c)); err != nil {
		return c, "", err
	}
	point, err := ecdsa.ParseUncompressedPublicKey(p256, decoded[3])
	if err != nil {
		return c, "", err
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if header.Typ != "JWT" || header.Alg != "ES256" || len(decoded[2]) != 64 ||
		!ecdsa.Verify(point, digest[:], new(big.Int).SetBytes(decoded[2][:32]), new(big.Int).SetBytes(decoded[2][32:])) {
		return c, "", errors.New("the signature doesn't hold")
	}
	return c, public, nil
}

// What judges our messages judges those of the RFCs too.
func TestTheBrowserReadsWhatIsOfTheVectors(t *testing.T) {
	var vectors struct {
		RFC8291 struct {
			Plaintext  string `json:"plaintext"`
			UAPrivate  string `json:"ua_private"`
			AuthSecret string `json:"auth_secret"`
			Body       string `json:"body"`
		}
		RFC8292 struct {
			Authorization string
			Aud, Sub      string
			Exp           int64
		}
	}
	require.NoError(t, json.Unmarshal(channeltest.Shared(t, "webpush/vectors.json"), &vectors))
	private, err := ecdh.P256().NewPrivateKey(fromBase64url(t, vectors.RFC8291.UAPrivate))
	require.NoError(t, err)
	b := browser{private, fromBase64url(t, vectors.RFC8291.AuthSecret)}
	body := string(fromBase64url(t, vectors.RFC8291.Body))
	text, err := b.decrypt(body)
	require.NoError(t, err)
	require.Equal(t, vectors.RFC8291.Plaintext, text)
	_, err = b.decrypt(body[:len(body)-1] + "x")
	require.Error(t, err)

	proof := vectors.RFC8292.Authorization
	c, _, err := verify(proof)
	require.NoError(t, err)
	require.Equal(t, claims{vectors.RFC8292.Aud, vectors.RFC8292.Exp, vectors.RFC8292.Sub}, c)
	_, _, err = verify(strings.Replace(proof, "t=eyJ0", "t=eyJ1", 1))
	require.Error(t, err)
}
