package push

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// Sizes of an encrypted message (RFC 8188, section 2.1, and RFC 8291, section 4),
// in bytes.
const (
	saltLength   = 16
	recordSize   = 4096 // as much as any push service takes
	headerLength = saltLength + 4 + 1 + pointLength
	sealLength   = 16 + 1 // the cipher's tag, and the octet that ends the text
	longestPlain = recordSize - headerLength - sealLength
)

// encrypt seals a text for a browser (RFC 8291) as one record of aes128gcm (RFC
// 8188), with padding bytes after it. own and salt are for this message alone.
func encrypt(plain []byte, padding int, to subscription, own *ecdh.PrivateKey, salt []byte) ([]byte, error) {
	shared, err := own.ECDH(to.key)
	if err != nil {
		return nil, fmt.Errorf("agree on a secret: %w", err)
	}
	ownPoint := own.PublicKey().Bytes()
	material, err := hkdf.Key(sha256.New, shared, to.auth, "WebPush: info\x00"+string(to.key.Bytes())+string(ownPoint), 32)
	if err != nil {
		return nil, fmt.Errorf("derive the key's material: %w", err)
	}
	key, err := hkdf.Key(sha256.New, material, salt, "Content-Encoding: aes128gcm\x00", 16)
	if err != nil {
		return nil, fmt.Errorf("derive the key: %w", err)
	}
	nonce, err := hkdf.Key(sha256.New, material, salt, "Content-Encoding: nonce\x00", 12)
	if err != nil {
		return nil, fmt.Errorf("derive the nonce: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("prepare the cipher: %w", err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("prepare the cipher: %w", err)
	}
	const lastRecord = 2 // ends the text of the last record
	record := append(append([]byte(nil), plain...), lastRecord)
	record = append(record, make([]byte, padding)...)
	body := append([]byte(nil), salt...)
	body = binary.BigEndian.AppendUint32(body, recordSize)
	body = append(append(body, byte(len(ownPoint))), ownPoint...)
	return gcm.Seal(body, nonce, record, nil), nil
}
