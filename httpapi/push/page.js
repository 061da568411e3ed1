// The page where a participant's browser subscribes to pushes about an event. The
// page's address is the secret by which it may, and the scope of its own worker,
// so that the pages of several events don't know of each other.
"use strict";

const page = document.getElementById("push");
const state = document.getElementById("state");
const on = document.getElementById("on");
const off = document.getElementById("off");
const link = location.pathname;

function show(text, may = {}) {
  state.textContent = text;
  on.hidden = !may.on;
  off.hidden = !may.off;
  on.disabled = off.disabled = false;
}

// What stands in the way of notifications, or nothing.
function obstacle() {
  if (!window.isSecureContext) {
    return "Notifications can only be shown by a page that is opened over https.";
  }
  if (!("serviceWorker" in navigator && "PushManager" in window && "Notification" in window)) {
    return "This browser can't show notifications of a page. Another one may.";
  }
  if (Notification.permission === "denied") {
    return "This browser was told not to show notifications of this page. Allow them in its settings for the page, then load the page again.";
  }
  return "";
}

async function registered() {
  const worker = new URL("worker.js", location.href);
  worker.searchParams.set("key", page.dataset.key);
  await navigator.serviceWorker.register(worker, { scope: link });
  return navigator.serviceWorker.ready;
}

async function subscribed() {
  const registration = await navigator.serviceWorker.getRegistration(link);
  return registration ? registration.pushManager.getSubscription() : null;
}

function base64url(buffer) {
  return btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

// How the service names the browser that has subscribed there.
async function nameOf(subscription) {
  return base64url(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(subscription.endpoint)));
}

async function ask(method, body) {
  const answer = await fetch(link, {
    method,
    headers: body ? { "Content-Type": "application/json" } : {},
    body,
  });
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({}));
    throw new Error(problem.detail || `the service answered ${answer.status}`);
  }
}

async function look() {
  const why = obstacle();
  if (why) {
    show(why, { off: page.dataset.shown !== "" });
    return;
  }
  const subscription = await subscribed();
  const shown = page.dataset.shown;
  if (shown === "") {
    show("No notifications are shown.", { on: true });
  } else if (subscription && shown === (await nameOf(subscription))) {
    await registered(); // its worker may be of another version
    show("Notifications are shown here.", { off: true });
  } else {
    show("Notifications are shown by another browser or device. Only one shows them at a time.", { on: true, off: true });
  }
}

async function subscribe() {
  // First of all, while the click still counts.
  if ((await Notification.requestPermission()) !== "granted") {
    await look();
    return;
  }
  const registration = await registered();
  let subscription = await registration.pushManager.getSubscription();
  if (subscription && base64url(subscription.options.applicationServerKey) !== page.dataset.key) {
    await subscription.unsubscribe(); // the service has another key now
    subscription = null;
  }
  subscription ??= await registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: page.dataset.key });
  try {
    await ask("PUT", JSON.stringify(subscription));
  } catch (error) {
    await subscription.unsubscribe();
    throw error;
  }
  page.dataset.shown = await nameOf(subscription);
  await look();
}

async function unsubscribe() {
  await ask("DELETE");
  page.dataset.shown = "";
  const subscription = await subscribed().catch(() => null);
  await subscription?.unsubscribe();
  await look();
}

function when(button, does) {
  button.addEventListener("click", async () => {
    on.disabled = off.disabled = true;
    try {
      await does();
    } catch (error) {
      show(`That did not work: ${error.message}`, { on: !obstacle(), off: page.dataset.shown !== "" });
    }
  });
}

when(on, subscribe);
when(off, unsubscribe);
look().catch((error) => show(`That did not work: ${error.message}`));
