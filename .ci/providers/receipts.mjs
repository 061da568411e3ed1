// What providers send back, signed as they sign it, and judged by their own
// verifiers: requests for whoever receives them.
import assert from "node:assert/strict";
import { createSign, generateKeyPairSync } from "node:crypto";
import { EventWebhook } from "@sendgrid/eventwebhook";
import twilio from "twilio";

// fromSendGrid gives a request with events: its headers and its body. key signs.
export function fromSendGrid(key, events, at = new Date()) {
  const body = JSON.stringify(events) + "\r\n";
  const timestamp = String(Math.floor(at / 1000));
  const signature = createSign("SHA256").update(timestamp + body).sign(key, "base64");
  return {
    headers: { "Content-Type": "application/json", "X-Twilio-Email-Event-Webhook-Signature": signature, "X-Twilio-Email-Event-Webhook-Timestamp": timestamp },
    body,
  };
}

// fromTwilio gives a request with a message's status, or what somebody answered;
// url is the one that Twilio was told to call.
export function fromTwilio(token, url, parameters) {
  return {
    headers: { "Content-Type": "application/x-www-form-urlencoded", "X-Twilio-Signature": twilio.getExpectedTwilioSignature(token, url, parameters) },
    body: new URLSearchParams(parameters).toString(),
  };
}

export async function receipts() {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const verifier = new EventWebhook();
  const key = verifier.convertPublicKeyToECDSA(publicKey.export({ type: "spki", format: "der" }).toString("base64"));
  const { headers, body } = fromSendGrid(privateKey, [{ event: "bounce", sg_event_id: "1", notification_id: "n" }]);
  const verify = (text) => verifier.verifySignature(key, text, headers["X-Twilio-Email-Event-Webhook-Signature"], headers["X-Twilio-Email-Event-Webhook-Timestamp"]);
  assert.ok(verify(body));
  assert.ok(!verify(body.replace("bounce", "delivered")));

  const url = "https://bells.example.org/v1/receipts/twilio?notification=n";
  const parameters = { MessageSid: "SM1", MessageStatus: "delivered" };
  const signed = fromTwilio("token", url, parameters).headers["X-Twilio-Signature"];
  assert.ok(twilio.validateRequest("token", signed, url, parameters));
  assert.ok(!twilio.validateRequest("token", signed, url, { ...parameters, MessageStatus: "failed" }));
}
