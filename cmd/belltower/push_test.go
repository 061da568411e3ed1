package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/channels/push"
)

// serviceAccount writes the file of one, with changes.
func serviceAccount(t *testing.T, changes map[string]string) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	fields := map[string]string{
		"type": "service_account", "project_id": "bell-tower-1", "private_key_id": hidden,
		"private_key":  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"client_email": "bells@bell-tower-1.iam.gserviceaccount.com", "token_uri": push.GoogleTokenURL,
	}
	maps.Copy(fields, changes)
	file, err := json.Marshal(fields)
	require.NoError(t, err)
	return written(t, "account.json", string(file))
}

func TestFCMSettings(t *testing.T) {
	file := serviceAccount(t, nil)
	const elsewhere = "https://oauth2.example.org/token"
	refuses(t, map[string]string{"BELLTOWER_FCM_ACCOUNT_FILE": file}, map[string]refusal{
		"no file":      {map[string]string{"BELLTOWER_FCM_ACCOUNT_FILE": file + "x"}, "--fcm-account-file (BELLTOWER_FCM_ACCOUNT_FILE): open "},
		"another file": {map[string]string{"BELLTOWER_FCM_ACCOUNT_FILE": written(t, "key", hidden)}, "it is not the JSON key of a service account"},
		"a file that leads elsewhere": {
			map[string]string{"BELLTOWER_FCM_ACCOUNT_FILE": serviceAccount(t, map[string]string{"token_uri": elsewhere})},
			"its token_uri is not https://oauth2.googleapis.com/token",
		},
		"tokens from elsewhere": {map[string]string{"BELLTOWER_FCM_TOKEN_URL": elsewhere}, "its token_uri is not " + elsewhere},
		"unencrypted":           {map[string]string{"BELLTOWER_FCM_URL": "http://fcm.googleapis.com"}, "--fcm-url (BELLTOWER_FCM_URL): it is not https"},
		"unencrypted tokens":    {map[string]string{"BELLTOWER_FCM_TOKEN_URL": "http://oauth2.googleapis.com/token"}, "--fcm-token-url (BELLTOWER_FCM_TOKEN_URL): it is not https"},
		"inside":                {map[string]string{"BELLTOWER_FCM_URL": "https://169.254.169.254"}, "its address is none that may be called"},
	})
	_, err := configured(map[string]string{
		"BELLTOWER_FCM_ACCOUNT_FILE": serviceAccount(t, map[string]string{"token_uri": elsewhere}), "BELLTOWER_FCM_TOKEN_URL": elsewhere,
	})
	require.NoError(t, err, "where it is said to be so")
}

func TestFCMIsTried(t *testing.T) {
	google := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte(`{"access_token": "` + hidden + `", "expires_in": 3599}`))
	}))
	defer google.Close()
	right := map[string]string{
		"BELLTOWER_FCM_ACCOUNT_FILE": serviceAccount(t, map[string]string{"token_uri": google.URL + "/token"}),
		"BELLTOWER_FCM_TOKEN_URL":    google.URL + "/token", "BELLTOWER_FCM_URL": "URL",
	}
	tried := try(t, right, "push", "fW9k2_Qx-T0:APA91bHun4", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		w.Write([]byte(`{"error": {"code": 403, "message": "Permission 'cloudmessaging.messages.create' denied", "status": "PERMISSION_DENIED"}}`))
	})
	require.ErrorContains(t, tried.err, "fcm: answered 403 (PERMISSION_DENIED)")
	require.Contains(t, tried.said, "push, by fcm through 127.0.0.1:")
	require.Contains(t, tried.said, "(project bell-tower-1)")
	require.Contains(t, tried.said, "Permission 'cloudmessaging.messages.create' denied", "FCM's own words")
	require.Equal(t, failing, tried.finding.State)
	tried = try(t, right, "push", "fW9k2_Qx-T0:APA91bHun4", func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte(`{"name": "projects/bell-tower-1/messages/0:1"}`))
	})
	require.NoError(t, tried.err)
	require.Contains(t, tried.said, "id        projects/bell-tower-1/messages/0:1")
	require.Equal(t, good, tried.finding.State, tried.finding.Found)
}
