package esdbserver_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	client "github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/eventstore/esdbserver"
)

// certificate makes one for this machine, and the file that clients trust.
func certificate(t *testing.T) (config *tls.Config, trusted string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "belltower tests"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	trusted = filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(trusted, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}, trusted
}

func TestCredentials(t *testing.T) {
	config, trusted := certificate(t)
	w := newWorld(t, func(o *esdbserver.Options) {
		o.TLS, o.Users = config, map[string]string{"ann": "right", "bob": "other"}
	})
	for login, ok := range map[string]bool{"ann:right@": true, "bob:other@": true, "ann:wrong@": false, "ann:other@": false, "eve:right@": false, "eve:@": false, "": false} {
		db := w.dial("esdb://" + login + w.at + "?tlsCAFile=" + trusted)
		_, err := db.AppendToStream(t.Context(), "s", client.AppendToStreamOptions{}, made(1)...)
		if ok {
			require.NoError(t, err, login)
		} else {
			require.Equal(t, client.ErrorCodeUnauthenticated, code(t, err), login)
		}
		_, err = drained(db.ReadStream(t.Context(), "s", client.ReadStreamOptions{}, 1))
		require.Equal(t, ok, err == nil, login)
	}
}
