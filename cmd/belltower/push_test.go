package main

import (
	"crypto/ecdh"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/channels/push"
)

// serviceKey is that of service accounts; making one takes a while.
var serviceKey = sync.OnceValue(func() string {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
})

// serviceAccount writes the file of one, with changes.
func serviceAccount(t *testing.T, changes map[string]string) string {
	t.Helper()
	fields := map[string]string{
		"type": "service_account", "project_id": "bell-tower-1", "private_key_id": hidden,
		"private_key":  serviceKey(),
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
	s, err := configured(map[string]string{"BELLTOWER_FCM_ACCOUNT_FILE": file})
	require.NoError(t, err)
	require.Equal(t, push.Backoff(), s.providers.registered[0].Backoff)
	require.GreaterOrEqual(t, s.providers.registered[0].Timeout, 10*time.Second, "FCM takes up to that")
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

func TestWebPushSettings(t *testing.T) {
	right := map[string]string{"BELLTOWER_WEBPUSH_CONTACT": "mailto:choir@example.org", "BELLTOWER_WEBPUSH_SERVICES": "*.push.apple.com, FCM.googleapis.com,"}
	refuses(t, right, map[string]refusal{
		"no URL":        {map[string]string{"BELLTOWER_WEBPUSH_CONTACT": "choir@example.org"}, "--webpush-contact (BELLTOWER_WEBPUSH_CONTACT): webpush: the contact is not a URL"},
		"nobody":        {map[string]string{"BELLTOWER_WEBPUSH_CONTACT": "mailto:root@localhost"}, "is at no host of the Internet"},
		"no service":    {map[string]string{"BELLTOWER_WEBPUSH_SERVICES": " "}, "there is no push service"},
		"all services":  {map[string]string{"BELLTOWER_WEBPUSH_SERVICES": "*"}, `"*" is no host`},
		"a URL of one":  {map[string]string{"BELLTOWER_WEBPUSH_SERVICES": "https://push.example.org"}, "is no host"},
		"an FCM that's": {map[string]string{"BELLTOWER_FCM_ACCOUNT_FILE": written(t, "key", hidden)}, "it is not the JSON key of a service account"},
	})
	for want, change := range map[string]map[string]string{
		"console": {}, "webpush": right,
		"fcm":         {"BELLTOWER_FCM_ACCOUNT_FILE": serviceAccount(t, nil)},
		"fcm+webpush": {"BELLTOWER_FCM_ACCOUNT_FILE": serviceAccount(t, nil), "BELLTOWER_WEBPUSH_CONTACT": "https://choir.example.org"},
	} {
		s, err := configured(change)
		require.NoError(t, err)
		require.Equal(t, want, register(io.Discard, s)[2].Provider)
	}
}

// subscription is a browser's with a push service.
func subscription(t *testing.T, endpoint string) string {
	t.Helper()
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	require.NoError(t, err)
	text, err := json.Marshal(map[string]any{"endpoint": endpoint, "keys": map[string]string{
		"p256dh": base64.RawURLEncoding.EncodeToString(key.PublicKey().Bytes()), "auth": "BTBZMqHH6r4Tts7J_aSIgg",
	}})
	require.NoError(t, err)
	return string(text)
}

func TestWebPushIsTried(t *testing.T) {
	said := http.StatusCreated
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(said)
		w.Write([]byte("said the push service"))
	}))
	defer service.Close()
	folder := t.TempDir()
	right := map[string]string{"BELLTOWER_WEBPUSH_CONTACT": "mailto:choir@example.org", "BELLTOWER_WEBPUSH_SERVICES": "127.0.0.1", "BELLTOWER_DATA": folder}
	to := subscription(t, service.URL+"/"+hidden)
	tried := try(t, right, "push", to, nil)
	require.ErrorContains(t, tried.err, "there is no key that can be read")
	require.Contains(t, tried.said, "which 'belltower serve' makes at its first start")
	require.NoError(t, (&vapidFile{path: filepath.Join(folder, vapidName)}).keep())

	tried = try(t, right, "push", to, nil)
	require.NoError(t, tried.err)
	require.Contains(t, tried.said, "push, by webpush through push services (public key B")
	require.Contains(t, tried.said, "201 Created\n          said the push service")
	require.Contains(t, tried.finding.Found, "which can't be tried without sending")
	said = http.StatusGone
	tried = try(t, right, "push", to, nil)
	require.ErrorContains(t, tried.err, "webpush: answered 410")
	tried = try(t, right, "push", subscription(t, "https://push.example.org/"+hidden), nil)
	require.ErrorContains(t, tried.err, "a push service that is not among those allowed")
}

// There is one key, whoever makes it, and only its owner reads it.
func TestVAPIDFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), vapidName)
	_, err := (&vapidFile{path: path}).read()
	require.ErrorIs(t, err, fs.ErrNotExist)
	keys := make([]string, 8)
	var all sync.WaitGroup
	for i := range keys {
		all.Go(func() {
			file := &vapidFile{path: path}
			if err := file.keep(); err != nil {
				t.Error(err)
				return
			}
			if key, err := file.read(); err == nil {
				keys[i] = key.Public()
			}
		})
	}
	all.Wait()
	for _, key := range keys {
		require.NotEmpty(t, key)
		require.Equal(t, keys[0], key)
	}
	left, err := filepath.Glob(path + "*")
	require.NoError(t, err)
	require.Equal(t, []string{path}, left)
	if runtime.GOOS != "windows" {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
	}
	// What was kept is never made anew in silence.
	require.NoError(t, os.WriteFile(path, []byte(hidden), 0o600))
	err = (&vapidFile{path: path}).keep()
	require.ErrorContains(t, err, path)
	require.NotContains(t, err.Error(), hidden)
	kept, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, hidden, string(kept))
}

// Browsers know the service by the same key after a restart.
func TestServeKeepsTheKeyOfWebPush(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "data")
	shown := regexp.MustCompile(`push, by webpush through push services \(public key (\S+)\)`)
	var keys []string
	for range 2 {
		p := serving(t, folder, "BELLTOWER_WEBPUSH_CONTACT=mailto:choir@example.org")
		p.finish(t, syscall.SIGTERM)
		found := shown.FindStringSubmatch(p.out.String())
		require.NotNil(t, found, p.out.String())
		keys = append(keys, found[1])
	}
	require.Equal(t, keys[0], keys[1])
	all := examined(t, exitOK, "--data", folder, "--webpush-contact", "mailto:choir@example.org")
	require.Contains(t, all["files"][2].Found, vapidName)
	require.Equal(t, good, all["files"][2].State)
	require.NoError(t, os.Remove(filepath.Join(folder, vapidName)))
	all = examined(t, exitOK, "--data", folder, "--webpush-contact", "mailto:choir@example.org")
	require.Equal(t, warning, all["files"][2].State)
}

// What is announced reaches the push services of those who subscribed, once each,
// and a subscription that is gone is told as such.
func TestPushFromAnnouncementToBrowser(t *testing.T) {
	var (
		mu   sync.Mutex
		seen = map[string]http.Header{}
		many = map[string]int{}
	)
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen[r.URL.Path] = r.Header
		many[r.URL.Path]++
		mu.Unlock()
		if r.URL.Path == "/gone" {
			w.WriteHeader(http.StatusGone)
			return
		}
		w.WriteHeader(http.StatusCreated)
	}))
	defer service.Close()
	p := serving(t, filepath.Join(t.TempDir(), "data"), "BELLTOWER_WEBPUSH_CONTACT=mailto:choir@example.org",
		"BELLTOWER_WEBPUSH_SERVICES=127.0.0.1", "BELLTOWER_OUTGOING_ALLOW=127.0.0.0/8")
	event := p.does(t, 201, "POST", "/v1/events", anEvent(time.Hour, nil)).text("id")
	status := map[string]string{"/there": "SENT", "/gone": "FAILED"}
	who := map[string]string{}
	for i, path := range []string{"/there", "/gone"} {
		person := aPerson(i, object{"channels": []string{"push"}, "push_token": subscription(t, service.URL+path)})
		who[path] = p.does(t, 201, "POST", "/v1/events/"+event+"/participants", person).text("id")
	}
	p.does(t, 202, "POST", "/v1/events/"+event+"/announcements", object{"message": "Soft shoes, please"})
	for path, want := range status {
		until(t, path+" is "+want, func() bool {
			list := p.does(t, 200, "GET", "/v1/notifications?participant_id="+who[path]+"&status="+want, nil).items()
			return len(list) == 1
		})
	}
	p.finish(t, syscall.SIGTERM)
	require.Equal(t, map[string]int{"/there": 1, "/gone": 1}, many)
	require.NotEqual(t, seen["/there"].Get("Topic"), seen["/gone"].Get("Topic"))
	require.Contains(t, seen["/there"].Get("Authorization"), "vapid t=")
	require.NotContains(t, p.err.String(), service.URL)
}

// The command line gives a participant's link, which outlives a restart, and what
// their browser says there is where pushes go.
func TestPushLink(t *testing.T) {
	arrived := make(chan struct{}, 1)
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
		arrived <- struct{}{}
	}))
	defer service.Close()
	folder := filepath.Join(t.TempDir(), "data")
	const public = "https://bells.example.org/sub"
	env := []string{
		"BELLTOWER_WEBPUSH_CONTACT=mailto:choir@example.org", "BELLTOWER_WEBPUSH_SERVICES=127.0.0.1", "BELLTOWER_OUTGOING_ALLOW=127.0.0.0/8",
		"BELLTOWER_PUBLIC_URL=" + public,
	}
	p := serving(t, folder, env...)
	event := p.does(t, 201, "POST", "/v1/events", anEvent(time.Hour, nil)).text("id")
	ann := p.does(t, 201, "POST", "/v1/events/"+event+"/participants", aPerson(1, nil)).text("id")
	link := func() string {
		client := commandLine{t, []string{"BELLTOWER_URL=" + p.url, "BELLTOWER_TOKEN=" + testAdmin}}
		require.JSONEq(t, client.asks("/v1/participants/"+ann+"/push-link"), client.does("participants", "push-link", ann, "--json"))
		return strings.TrimSpace(client.does("participants", "push-link", ann))
	}
	before := link()
	p.finish(t, syscall.SIGTERM)
	p = serving(t, folder, env...)
	require.Equal(t, before, link())
	path, ok := strings.CutPrefix(before, public)
	require.True(t, ok, before)

	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, p.url+path, strings.NewReader(subscription(t, service.URL+"/browser")))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusNoContent, resp.StatusCode)
	p.does(t, 202, "POST", "/v1/events/"+event+"/announcements", object{"message": "Soft shoes, please", "channels": []string{"push"}})
	select {
	case <-arrived:
	case <-time.After(patience):
		require.Fail(t, "nothing was pushed")
	}
	p.finish(t, syscall.SIGTERM)
	require.NotContains(t, p.err.String(), strings.TrimPrefix(path, "/v1/push/"), "the link is a secret")
}
