package push

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"strings"
)

// subscription is a browser's PushSubscription, as its toJSON gives it.
type subscription struct {
	endpoint string
	public   *ecdh.PublicKey // p256dh
	secret   []byte          // auth
}

// parseSubscription reads a participant's push token. Its errors don't quote it:
// whoever has an endpoint can call it.
func parseSubscription(text string) (subscription, error) {
	var said struct {
		Endpoint string `json:"endpoint"`
		Keys     struct {
			P256DH string `json:"p256dh"`
			Auth   string `json:"auth"`
		} `json:"keys"`
	}
	if json.Unmarshal([]byte(text), &said) != nil || said.Endpoint == "" {
		return subscription{}, errors.New("it is not a browser's subscription in JSON")
	}
	point, err := decodeBase64(said.Keys.P256DH)
	if err != nil {
		return subscription{}, errors.New("its key p256dh is not base64url")
	}
	public, err := ecdh.P256().NewPublicKey(point)
	if err != nil {
		return subscription{}, errors.New("its key p256dh is no point of P-256")
	}
	const secretLength = 16
	secret, err := decodeBase64(said.Keys.Auth)
	if err != nil || len(secret) != secretLength {
		return subscription{}, errors.New("its key auth is not 16 bytes in base64url")
	}
	return subscription{said.Endpoint, public, secret}, nil
}

// decodeBase64 reads base64url, padded or not.
func decodeBase64(text string) ([]byte, error) {
	return base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
}

const (
	saltLength = 16
	recordSize = 4096 // what every push service takes (RFC 8030, section 7.2)
	// maxPlaintext is what fits into one record of that size with the header: salt,
	// size, length of the key and key; the delimiter; and the tag.
	maxPlaintext = recordSize - (saltLength + 4 + 1 + 65) - 1 - 16
)

// encrypt gives a message that only the subscription's browser can read (RFC 8291,
// aes128gcm of RFC 8188), with keys that are used once.
func (s subscription) encrypt(plaintext []byte) ([]byte, error) {
	ours, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	salt := make([]byte, saltLength)
	rand.Read(salt) // which never fails
	return s.seal(plaintext, ours, salt)
}

// seal encrypts with given keys.
func (s subscription) seal(plaintext []byte, ours *ecdh.PrivateKey, salt []byte) ([]byte, error) {
	shared, err := ours.ECDH(s.public)
	if err != nil {
		return nil, err
	}
	public := ours.PublicKey().Bytes()
	var failed error
	derive := func(secret, salt []byte, info string, length int) []byte {
		key, err := hkdf.Key(sha256.New, secret, salt, info, length)
		failed = errors.Join(failed, err)
		return key
	}
	material := derive(shared, s.secret, "WebPush: info\x00"+string(s.public.Bytes())+string(public), sha256.Size)
	key := derive(material, salt, "Content-Encoding: aes128gcm\x00", 16)
	nonce := derive(material, salt, "Content-Encoding: nonce\x00", 12)
	if failed != nil {
		return nil, failed
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	message := append([]byte{}, salt...)
	message = binary.BigEndian.AppendUint32(message, recordSize)
	message = append(message, byte(len(public)))
	message = append(message, public...)
	const lastRecord = 2
	return aead.Seal(message, nonce, append(append([]byte{}, plaintext...), lastRecord), nil), nil
}
