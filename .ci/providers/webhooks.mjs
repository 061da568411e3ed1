// Libraries that receivers use verify our webhooks, and nothing else.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { Webhook as Standard } from "standardwebhooks";
import { Webhook as Svix } from "svix";
import { file, sends, serve } from "./common.mjs";

export async function webhooks() {
  const given = [];
  const receiver = await serve((request, response) => {
    given.push(request);
    response.end();
  });
  const secret = () => `whsec_${randomBytes(32).toString("base64")}`;
  const [old, next, foreign] = [secret(), secret(), secret()];
  const env = { BELLTOWER_WEBHOOK_URL: `${receiver}/hook`, BELLTOWER_WEBHOOK_SECRET_FILE: file("webhook", `${next}\n${old}\n`) };
  await sends("webhook", "ann@example.org", env, "accepted");
  const [{ headers, body }] = given;
  const text = body.toString();
  for (const Webhook of [Standard, Svix]) {
    for (const holder of [old, next]) {
      new Webhook(holder).verify(text, headers); // while the secret is changed, whoever has either
    }
    for (const [what, wrong] of Object.entries({
      secret: () => new Webhook(foreign).verify(text, headers),
      body: () => new Webhook(next).verify(text.replace("ann", "eve"), headers),
      id: () => new Webhook(next).verify(text, { ...headers, "webhook-id": "another" }),
      time: () => new Webhook(next).verify(text, { ...headers, "webhook-timestamp": String(Number(headers["webhook-timestamp"]) + 1) }),
      signature: () => new Webhook(next).verify(text, { ...headers, "webhook-signature": "v1,AAAA" }),
    })) {
      assert.throws(wrong, undefined, `another ${what} is not noticed`);
    }
  }
  assert.equal(JSON.parse(text).data.notification_id, headers["webhook-id"]);
}
