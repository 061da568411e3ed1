// Shows what is pushed about one event to one participant. Its scope is the
// address of their page; its own address has the key to subscribe with.
"use strict";

const link = self.registration.scope;

self.addEventListener("install", () => self.skipWaiting());

self.addEventListener("push", (event) => {
  let message = {};
  try {
    message = event.data.json();
  } catch {
    // A browser must show something for each push.
  }
  event.waitUntil(
    self.registration.showNotification(message.title || "News about an event", {
      body: message.body || "",
      tag: message.notification_id, // a repeat replaces it
      dir: "auto",
      data: { optOut: message.opt_out_url },
      actions: message.opt_out_url ? [{ action: "opt-out", title: "No more messages" }] : [],
    }),
  );
});

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  const optOut = event.notification.data?.optOut;
  event.waitUntil(event.action === "opt-out" && optOut ? self.clients.openWindow(optOut) : openPage());
});

// The event's page, where it is open already.
async function openPage() {
  const windows = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  const there = windows.find((one) => one.url.split(/[?#]/)[0] === link);
  return there ? there.focus() : self.clients.openWindow(link);
}

self.addEventListener("pushsubscriptionchange", (event) => {
  event.waitUntil(renew(event.newSubscription));
});

// The push service has ended a subscription; without another nothing would come.
async function renew(subscription) {
  const key = new URL(self.location).searchParams.get("key");
  subscription ??= await self.registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
  const answer = await fetch(link, { method: "PUT", headers: { "Content-Type": "application/json" }, body: JSON.stringify(subscription) });
  if (!answer.ok) {
    throw new Error(`the service answered ${answer.status}`);
  }
}
