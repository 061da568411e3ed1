package keys

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
)

const (
	format           = 2 // of the tables, in a file as on a server
	secretSize       = 32
	sealedSecretSize = secretSize + sha256.Size
)

var (
	// ErrMissing says that there are no keys where some were required.
	ErrMissing = errors.New("there are no keys")
	// ErrNotKeys says that the file is there and is something else.
	ErrNotKeys = errors.New("not a Belltower key file")
	// ErrNewerFormat says that a newer Belltower wrote the keys.
	ErrNewerFormat = errors.New("the keys were written by a newer Belltower")
	// ErrDamaged says that the keys are not as they were written. A damaged key shows
	// itself when it opens nothing; a damaged secret would show itself nowhere.
	ErrDamaged = errors.New("the keys are damaged")
)

// Option changes how keys are opened.
type Option func(*options)

type options struct{ existing bool }

// Existing makes opening refuse, with ErrMissing, to begin new keys. It is for a
// log that already has facts: their keys would be numbered anew, and nothing in
// them could be read.
func Existing() Option { return func(o *options) { o.existing = true } }

func checkFormat(found int64) error {
	switch {
	case found > format:
		return fmt.Errorf("%w: their format is %d, this program knows %d", ErrNewerFormat, found, format)
	case found < format:
		return fmt.Errorf("their format is %d, of before the first release; this program reads format %d", found, format)
	}
	return nil
}

// newSecret draws a secret, as it is stored: with a sum of it.
func newSecret() []byte {
	secret := make([]byte, secretSize)
	rand.Read(secret) // crypto/rand never fails
	return withSum(secret)
}

// checkSecret gives the secret if what is stored is as it was written.
func checkSecret(stored []byte) ([]byte, error) {
	if len(stored) != sealedSecretSize || !bytes.Equal(stored, withSum(stored[:secretSize])) {
		return nil, ErrDamaged
	}
	return stored[:secretSize], nil
}

func withSum(secret []byte) []byte {
	sum := sha256.Sum256(secret)
	return append(slices.Clone(secret), sum[:]...)
}
