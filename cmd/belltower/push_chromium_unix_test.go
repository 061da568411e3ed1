//go:build unix

package main

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// shownNotifications gives what a page's service worker shows.
const shownNotifications = `navigator.serviceWorker.getRegistration().then(r => r.getNotifications())
	.then(all => JSON.stringify(all.map(n => ({title: n.title, body: n.body, tag: n.tag, actions: n.actions.map(a => a.action)}))))`

const itsSubscription = `navigator.serviceWorker.getRegistration().then(r => r.pushManager.getSubscription()).then(s => JSON.stringify(s))`

// What is announced is shown by a real browser whose user has clicked on the
// page's button. Chromium makes the subscription's keys, registers it, and opens
// the message by code of its own; the services of its maker are ours, see there.
func TestChromiumShowsPushes(t *testing.T) {
	findChromium(t)
	services := serveBrowsers(t)
	const public = "https://bells.example.org/sub"
	p := serving(t, t.TempDir(), "BELLTOWER_WEBPUSH_CONTACT=mailto:choir@example.org", "BELLTOWER_PUBLIC_URL="+public,
		"BELLTOWER_WEBPUSH_SERVICES=fcm.googleapis.com,jmt17.google.com,127.0.0.1", "BELLTOWER_OUTGOING_ALLOW=127.0.0.0/8")
	event := p.does(t, 201, "POST", "/v1/events", anEvent(time.Hour, object{"title": `Bells & "whistles"`})).text("id")
	ann := p.does(t, 201, "POST", "/v1/events/"+event+"/participants", aPerson(1, nil)).text("id")
	link := strings.Replace(p.does(t, 200, "GET", "/v1/participants/"+ann+"/push-link", nil).text("url"), public, p.url, 1)
	participant := func() object { return p.does(t, 200, "GET", "/v1/participants/"+ann, nil) }

	c := browse(t, services.flags()...)
	c.must("", "Browser.grantPermissions", object{"origin": p.url, "permissions": []string{"notifications"}}, nil)
	page := c.open(link)
	page.shows("No notifications are shown.")
	page.run(`document.getElementById("on").click()`)
	page.shows("Notifications are shown here.")
	require.Equal(t, []any{"email", "push"}, participant()["channels"])
	page.reload()
	page.shows("Notifications are shown here.")

	// Chromium's push service is built in; the one here stands at its place.
	var subscription object
	require.NoError(t, json.Unmarshal([]byte(page.run(itsSubscription).(string)), &subscription))
	endpoint, token, ok := strings.Cut(subscription["endpoint"].(string), "/fcm/send/")
	require.True(t, ok, "%v", subscription)
	require.Contains(t, []string{"https://fcm.googleapis.com", "https://jmt17.google.com"}, endpoint)
	subscription["endpoint"] = services.web.URL + "/fcm/send/" + token
	moved, err := json.Marshal(subscription)
	require.NoError(t, err)
	p.does(t, 200, "PATCH", "/v1/participants/"+ann, object{"push_token": string(moved)})

	const words = "Soft shoes, please 🔔 <b>&amp;"
	p.does(t, 202, "POST", "/v1/events/"+event+"/announcements", object{"message": words, "channels": []string{"push"}})
	var shown []struct {
		Title, Body, Tag string
		Actions          []string
	}
	looks := 0
	until(t, "the browser shows it", func() bool {
		if looks++; looks%200 == 0 {
			services.again()
		}
		require.NoError(t, json.Unmarshal([]byte(page.run(shownNotifications).(string)), &shown))
		return len(shown) > 0
	})
	p.caughtUp(t)
	sent := p.does(t, 200, "GET", "/v1/notifications?channel=push", nil).items()
	require.Len(t, sent, 1)
	require.Len(t, shown, 1)
	require.Equal(t, words, shown[0].Body)
	require.Contains(t, shown[0].Title, `Bells & "whistles"`)
	require.Equal(t, sent[0].text("id"), shown[0].Tag)
	require.Equal(t, []string{"opt-out"}, shown[0].Actions)
	services.mu.Lock()
	require.Len(t, services.calls, 1)
	_, key, _ := strings.Cut(services.calls[0].Header.Get("Authorization"), "k=")
	require.Equal(t, services.registered[token].sender, key, "it subscribed for our key")
	services.mu.Unlock()
	until(t, "it is sent", func() bool {
		return p.does(t, 200, "GET", "/v1/notifications/"+sent[0].text("id"), nil).text("status") == "SENT"
	})

	clicksLead(t, page, link, public+"/v1/opt-out/")
	renews(t, page)

	page.reload()
	page.shows("Notifications are shown here.")
	page.run(`document.getElementById("off").click()`)
	page.shows("No notifications are shown.")
	require.Equal(t, []any{"email"}, participant()["channels"])
	require.Equal(t, "null", page.run(itsSubscription))

	c.must("", "Browser.setPermission", object{"origin": p.url, "permission": object{"name": "notifications"}, "setting": "denied"}, nil)
	page.reload()
	page.shows("This browser was told not to show notifications of this page. Allow them in its settings for the page, then load the page again.")
	p.finish(t, syscall.SIGTERM)
	require.NotContains(t, p.err.String(), token)
}

// clicksLead tries where clicks on the notification lead: on itself, and on its
// action. Scripts can't click on one, so the worker is told of a click and a list
// is kept of what it opens.
func clicksLead(t *testing.T, page tab, itself, optOut string) {
	t.Helper()
	opened := page.worker().run(`(async () => {
		const [notification] = await self.registration.getNotifications();
		const opened = [];
		self.clients.openWindow = async (url) => opened.push(url);
		self.clients.matchAll = async () => [];
		for (const action of ["", "opt-out"]) {
			self.dispatchEvent(new NotificationEvent("notificationclick", {notification, action}));
			await new Promise(done => setTimeout(done));
		}
		return opened;
	})()`).([]any)
	require.Len(t, opened, 2)
	require.Equal(t, itself, opened[0])
	require.Contains(t, opened[1], optOut)
}

// renews ends the subscription as a push service does, and tells the worker so.
func renews(t *testing.T, page tab) {
	t.Helper()
	page.run(`navigator.serviceWorker.getRegistration().then(r => r.pushManager.getSubscription()).then(s => s.unsubscribe())`)
	require.Equal(t, "null", page.run(itsSubscription))
	page.worker().run(`self.dispatchEvent(new ExtendableEvent("pushsubscriptionchange")); 0`)
	until(t, "it has subscribed anew", func() bool { return page.run(itsSubscription) != "null" })
	const shownByService = `fetch(location.pathname).then(a => a.text()).then(t => /data-shown="([^"]*)"/.exec(t)[1])`
	const shownHere = `navigator.serviceWorker.getRegistration().then(r => r.pushManager.getSubscription()).then(nameOf)`
	until(t, "the service knows", func() bool { return page.run(shownByService) == page.run(shownHere) })
}
