package push

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// VAPIDKey is what push services and browsers know us by (RFC 8292). Browsers
// subscribe for one key: with another, all their subscriptions are worth nothing.
type VAPIDKey struct {
	private *ecdsa.PrivateKey
	public  string
}

// MakeVAPIDKey makes a new one.
func MakeVAPIDKey() (*VAPIDKey, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return newVAPIDKey(private)
}

const pemType = "PRIVATE KEY"

// ReadVAPIDKey reads what PEM wrote. Its errors don't quote it.
func ReadVAPIDKey(text []byte) (*VAPIDKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != pemType {
		return nil, errors.New("it is not a private key in PEM (PKCS #8)")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	private, ok := key.(*ecdsa.PrivateKey)
	if err != nil || !ok || private.Curve != elliptic.P256() {
		return nil, errors.New("it is not a private key of P-256")
	}
	return newVAPIDKey(private)
}

func newVAPIDKey(private *ecdsa.PrivateKey) (*VAPIDKey, error) {
	point, err := private.PublicKey.ECDH()
	if err != nil {
		return nil, fmt.Errorf("take the public key: %w", err)
	}
	return &VAPIDKey{private, encode(point.Bytes())}, nil
}

// PEM is the private key, for a file.
func (k *VAPIDKey) PEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return nil, fmt.Errorf("write the key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), nil
}

// Public is what a page subscribes with: applicationServerKey, in base64url.
func (k *VAPIDKey) Public() string { return k.public }

// proofLife is how long a proof holds; services refuse those of more than a day.
const proofLife = 12 * time.Hour

// authorization is the header that proves to a push service who we are, and tells
// it whom to turn to (RFC 8292, sections 2 and 3).
func (k *VAPIDKey) authorization(service, contact string, now time.Time) (string, error) {
	claims, err := json.Marshal(struct {
		Audience string `json:"aud"`
		Expires  int64  `json:"exp"`
		Subject  string `json:"sub"`
	}{service, now.Add(proofLife).Unix(), contact})
	if err != nil {
		return "", fmt.Errorf("write the claims: %w", err)
	}
	signed := encode([]byte(`{"typ":"JWT","alg":"ES256"}`)) + "." + encode(claims)
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, k.private, digest[:])
	if err != nil {
		return "", fmt.Errorf("sign the claims: %w", err)
	}
	signature := make([]byte, 64) // two numbers of 32 bytes (RFC 7518, section 3.4)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return "vapid t=" + signed + "." + encode(signature) + ", k=" + k.public, nil
}
