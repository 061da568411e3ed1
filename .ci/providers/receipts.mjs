// What providers send back, signed by their own libraries or as these have it: the
// running service takes what their verifiers take, and refuses what they refuse.
import assert from "node:assert/strict";
import { createHash, createSign, generateKeyPairSync } from "node:crypto";
import http from "node:http";
import { EventWebhook } from "@sendgrid/eventwebhook";
import twilio from "twilio";
import { file, serve, serving } from "./common.mjs";

const publicURL = "https://bells.example.org/r";
const token = "0123456789abcdef0123456789abcdef";
const number = "+15005550009";

// post sends what it is given as it is: fetch would write some of a query in another way.
function post(url, headers, body) {
  const [, hostname, port, path] = /^http:\/\/(.+):([0-9]+)(\/.*)$/.exec(url);
  return new Promise((done, fail) => {
    const request = http.request({ method: "POST", hostname, port, path, headers: { ...headers, "Content-Length": Buffer.byteLength(body) } }, (answer) => {
      answer.resume();
      answer.on("end", () => done(answer.statusCode));
    });
    request.on("error", fail);
    request.end(body);
  });
}

// encoded is a form as a browser sends it; a value may be several.
const encoded = (parameters) => new URLSearchParams(Object.entries(parameters).flatMap(([name, value]) => [value].flat().map((one) => [name, one]))).toString();

// agree posts a call to the service, and wants it judged as Twilio's library judges it.
async function agree(service, what, { query = "", signed, signature, parameters, body, type = "application/x-www-form-urlencoded", secret = token }, wanted) {
  const called = `${publicURL}/v1/receipts/twilio${query}`;
  const raw = body ?? encoded(parameters);
  const sent = signature ?? twilio.getExpectedTwilioSignature(secret, signed ?? called, body === undefined ? parameters : {});
  const theirs = body === undefined ? twilio.validateRequest(token, sent, called, parameters) : twilio.validateRequestWithBody(token, sent, called, body);
  assert.equal(theirs, wanted, `${what}: Twilio's own verifier`);
  const status = await post(`${service.url}/v1/receipts/twilio${query}`, { "Content-Type": type, "X-Twilio-Signature": sent }, raw);
  assert.equal(status, wanted ? 204 : 403, what);
}

async function twilioSignatures(service) {
  const parameters = { MessageSid: "SM1", MessageStatus: "queued", To: number, AccountSid: "AC1" };
  const takes = {
    "no query": {},
    "a query": { query: "?notification=n&attempt=1" },
    "a query with what is escaped": { query: "?notification=a%20b%2Bc&x=%C3%A9&y=%27" },
    "a query with what isn't": { query: "?x='!()*~&y=a+b" },
    "a query in no order, twice the same": { query: "?b=2&a=1&b=1&empty=" },
    "signed with the port": { signed: "https://bells.example.org:443/r/v1/receipts/twilio" },
    "no parameter but one": { parameters: { MessageSid: "SM1" } },
    "empty values": { parameters: { ...parameters, ErrorCode: "", Body: "" } },
    "repeated values": { parameters: { ...parameters, MediaUrl: ["b", "a", "b", ""] } },
    "names that differ in case": { parameters: { ...parameters, messagesid: "x", MESSAGESID: "y" } },
    "other scripts": { parameters: { ...parameters, Body: "Schöne Grüße 🎉 \u2028 &=+%20", "Näme": "ł" } },
    "line breaks": { parameters: { ...parameters, Body: "a\r\nb\nc" } },
    "parameters that are new": { parameters: { ...parameters, Tomorrows: "1" } },
  };
  for (const [what, call] of Object.entries(takes)) {
    await agree(service, what, { parameters, ...call }, true);
    await agree(service, `${what}, of somebody else`, { parameters, ...call, secret: "f".repeat(32) }, false);
  }
  const good = twilio.getExpectedTwilioSignature(token, `${publicURL}/v1/receipts/twilio`, parameters);
  const refuses = {
    "another value": { parameters: { ...parameters, MessageStatus: "delivered" } },
    "one more": { parameters: { ...parameters, Extra: "" } },
    "one less": { parameters: { MessageSid: "SM1", MessageStatus: "queued", To: number } },
    "another query": { query: "?notification=n" },
    "no signature": { signature: "" },
    "a signature that is none": { signature: "AAAA" },
    "a longer one": { signature: `${good}AAAA` },
    "in another alphabet": { signature: good.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "") },
  };
  for (const [what, call] of Object.entries(refuses)) {
    await agree(service, what, { parameters, signature: good, ...call }, false);
  }
  await agree(service, "another address", { parameters, signed: "https://eve.example.org/r/v1/receipts/twilio" }, false);
  await agree(service, "another path", { parameters, signed: "https://bells.example.org/v1/receipts/twilio" }, false);
  await agree(service, "unencrypted", { parameters, signed: "http://bells.example.org/r/v1/receipts/twilio" }, false);
  await agree(service, "another port", { parameters, signed: "https://bells.example.org:8443/r/v1/receipts/twilio" }, false);

  // Of a body that is no form, the address holds a digest.
  const body = "MessageSid=SM1&MessageStatus=queued&Body=gr%C3%BC%C3%9Fe";
  const query = `?bodySHA256=${createHash("sha256").update(body).digest("hex")}`;
  await agree(service, "a digest of the body", { query, body }, true);
  await agree(service, "another body", { query, body: `${body}%21` }, false);
  await agree(service, "another digest", { query: `?bodySHA256=${"0".repeat(64)}`, body }, false);
}

// sendgridSignatures signs with a key of ours, as SendGrid's service does with its own.
async function sendgridSignatures(service, privateKey, publicKey) {
  const verifier = new EventWebhook();
  const key = verifier.convertPublicKeyToECDSA(publicKey);
  const now = String(Math.floor(Date.now() / 1000));
  const sign = (timestamp, body, by = privateKey) => createSign("SHA256").update(timestamp).update(body).sign(by, "base64");
  const events = JSON.stringify([{ event: "delivered", sg_event_id: "e1", notification_id: "not-ours", category: "Grüße 🎉", reason: "a\u2028b" }]);
  const agrees = async (what, { body = events, timestamp = now, signature = sign(timestamp, body), type = "application/json" }, wanted) => {
    let theirs = false;
    try {
      theirs = verifier.verifySignature(key, Buffer.from(body), signature, timestamp);
    } catch {} // what can't be read is refused, too
    assert.equal(theirs, wanted, `${what}: SendGrid's own verifier`);
    const headers = { "Content-Type": type, "X-Twilio-Email-Event-Webhook-Signature": signature, "X-Twilio-Email-Event-Webhook-Timestamp": timestamp };
    assert.equal(await post(`${service.url}/v1/receipts/sendgrid`, headers, body), wanted ? 204 : 403, what);
  };
  for (const [what, body] of Object.entries({
    "as SendGrid ends it": `${events}\r\n`, "without an end": events, "with blanks": `  ${events}\n\n`, "events apart": events.replaceAll(",", ", "),
    escaped: events.replace("ü", "\\u00fc"), "no event": "[]\r\n",
  })) {
    await agrees(what, { body }, true);
    await agrees(`${what}, said to be of another type`, { body, type: "text/plain" }, true);
    await agrees(`${what}, of another key`, { body, signature: sign(now, body, generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey) }, false);
  }
  const good = sign(now, `${events}\r\n`);
  await agrees("the end is lost", { signature: good }, false);
  await agrees("encoded again", { body: `${JSON.stringify(JSON.parse(events), null, 1)}\r\n`, signature: good }, false);
  await agrees("another event", { body: `${events.replace("delivered", "bounce")}\r\n`, signature: good }, false);
  await agrees("another time", { body: `${events}\r\n`, timestamp: String(Number(now) + 1), signature: good }, false);
  await agrees("no signature", { signature: "" }, false);
  await agrees("a signature that is none", { signature: "AAAA" }, false);
  // SendGrid's verifier leaves the time to who uses it.
  const old = String(Number(now) - 26 * 3600);
  const headers = { "X-Twilio-Email-Event-Webhook-Signature": sign(old, events), "X-Twilio-Email-Event-Webhook-Timestamp": old };
  assert.equal(await post(`${service.url}/v1/receipts/sendgrid`, headers, events), 400, "told again after a day");
}

// stories: what is sent is told of, by both providers, and becomes known.
async function stories(service, sent, privateKey) {
  const event = await service.ask(201, "POST", "/v1/events", {
    title: "Choir", description: "Practice", start_time: new Date(Date.now() + 3600e3).toISOString(), end_time: new Date(Date.now() + 7200e3).toISOString(),
  });
  const ann = await service.ask(201, "POST", `/v1/events/${event.id}/participants`, { user_id: "ann", name: "Ann", email: "ann@example.org", phone: number, channels: ["sms", "email"] });
  await service.ask(202, "POST", `/v1/events/${event.id}/announcements`, { message: "Soft shoes, please" });
  const become = async (channel, status) => {
    for (let i = 0; ; i++) {
      const { items } = await service.ask(200, "GET", `/v1/notifications?participant_id=${ann.id}&channel=${channel}`);
      if (items[0]?.status === status) return items[0];
      assert.ok(i < 600, `${channel} is ${items[0]?.status}, not ${status}`);
      await new Promise((done) => setTimeout(done, 100));
    }
  };
  await become("sms", "SENT");
  await become("email", "SENT");
  const callback = new URLSearchParams(sent.twilio[0]).get("StatusCallback");
  const told = { MessageSid: "SM1", MessageStatus: "delivered", To: number };
  const path = callback.slice(publicURL.length);
  const tell = (url, parameters) =>
    post(service.url + url.slice(publicURL.length), { "Content-Type": "application/x-www-form-urlencoded", "X-Twilio-Signature": twilio.getExpectedTwilioSignature(token, url, parameters) }, encoded(parameters));
  assert.ok(path.startsWith("/v1/receipts/twilio?"));
  assert.equal(await tell(callback, told), 204);
  await become("sms", "DELIVERED");
  assert.equal(await tell(`${publicURL}/v1/receipts/twilio`, { MessageSid: "SM2", SmsStatus: "received", From: number, Body: " stop\n" }), 204);
  assert.equal((await service.ask(200, "POST", "/v1/suppressions/lookup", { kind: "phone", address: number })).reason, "stop");
  assert.equal(await tell(`${publicURL}/v1/receipts/twilio`, { MessageSid: "SM3", SmsStatus: "received", From: number, Body: "Start" }), 204);
  assert.equal((await service.ask(200, "POST", "/v1/suppressions/lookup", { kind: "phone", address: number })).suppressed, false);

  const [{ custom_args: ours }] = JSON.parse(sent.sendgrid[0]).personalizations;
  const body = `${JSON.stringify([{ event: "bounce", type: "bounce", status: "5.1.1", email: "ann@example.org", sg_event_id: "e2", timestamp: Math.floor(Date.now() / 1000), ...ours }])}\r\n`;
  const timestamp = String(Math.floor(Date.now() / 1000));
  const headers = { "X-Twilio-Email-Event-Webhook-Signature": createSign("SHA256").update(timestamp + body).sign(privateKey, "base64"), "X-Twilio-Email-Event-Webhook-Timestamp": timestamp };
  assert.equal(await post(`${service.url}/v1/receipts/sendgrid`, headers, body), 204);
  await become("email", "FAILED");
  const { items } = await service.ask(200, "GET", "/v1/suppressions");
  assert.deepEqual(items.map(({ kind, to, reason, provider }) => [kind, to, reason, provider]), [["email", "a***@example.org", "gone", "sendgrid"]]);
}

export async function receipts() {
  const sent = { twilio: [], sendgrid: [] };
  const provider = (name, status, body) =>
    serve((request, response) => {
      sent[name].push(request.body.toString());
      response.writeHead(status, { "Content-Type": "application/json" });
      response.end(body);
    });
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const key = publicKey.export({ type: "spki", format: "der" }).toString("base64");
  const service = await serving({
    BELLTOWER_PUBLIC_URL: publicURL,
    BELLTOWER_TWILIO_ACCOUNT: "AC" + "0123456789abcdef".repeat(2), BELLTOWER_TWILIO_TOKEN_FILE: file("twilio-told", token), BELLTOWER_TWILIO_FROM: "+15005550006",
    BELLTOWER_TWILIO_URL: await provider("twilio", 201, '{"sid":"SM1","status":"queued"}'),
    BELLTOWER_SENDGRID_KEY_FILE: file("sendgrid-told", "SG.key"), BELLTOWER_SENDGRID_FROM: "choir@example.org", BELLTOWER_SENDGRID_RECEIPTS_KEY: key,
    BELLTOWER_SENDGRID_URL: await provider("sendgrid", 202, ""),
  });
  try {
    await twilioSignatures(service);
    await sendgridSignatures(service, privateKey, key);
    await stories(service, sent, privateKey);
  } finally {
    await service.stop();
  }
}
