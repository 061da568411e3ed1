// Prism serves each provider's own description: what it takes is a request as the
// provider documents it, and what it answers is one of the documented answers.
import assert from "node:assert/strict";
import { createVerify, generateKeyPairSync } from "node:crypto";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { file, run, sends, serve } from "./common.mjs";

const require = createRequire(import.meta.url);
const { createServer } = require("@stoplight/prism-http-server");
const { getHttpOperationsFromSpec } = require("@stoplight/prism-cli/dist/operations");
const { createLogger } = require("@stoplight/prism-core");

// prism starts one, behind a server that keeps the requests and asks for an answer
// by its status, where one is wanted.
async function prism(document) {
  const server = createServer(await getHttpOperationsFromSpec(document), {
    components: { logger: createLogger("prism", { level: "silent" }) },
    config: { checkSecurity: true, validateRequest: true, validateResponse: true, errors: true, mock: { dynamic: false }, isProxy: false, upstreamProxy: undefined },
    cors: false,
  });
  const at = await server.listen(0, "127.0.0.1");
  const provider = { requests: [], wanted: "", close: () => server.close() };
  provider.url = await serve(async (request, response) => {
    provider.requests.push(request);
    const headers = { ...request.headers };
    delete headers.host;
    delete headers["content-length"];
    if (provider.wanted) headers.prefer = `code=${provider.wanted}`;
    const answer = await fetch(at + request.url, { method: request.method, headers, body: request.method === "GET" ? undefined : request.body });
    response.writeHead(answer.status, { "Content-Type": answer.headers.get("content-type") ?? "text/plain" });
    response.end(Buffer.from(await answer.arrayBuffer()));
  });
  return provider;
}

// heeds sends once as it is, and once for each status that is documented.
async function heeds(provider, channel, to, env, outcomes) {
  await sends(channel, to, env, "accepted");
  for (const [status, outcome] of Object.entries(outcomes)) {
    provider.wanted = status;
    await sends(channel, to, env, outcome);
  }
  provider.wanted = "";
}

async function sendgrid(folder) {
  const provider = await prism(join(folder, "sendgrid/mail_send.openapi.json"));
  const env = { BELLTOWER_SENDGRID_KEY_FILE: file("sendgrid", "SG.key"), BELLTOWER_SENDGRID_FROM: "Choir <choir@example.org>", BELLTOWER_SENDGRID_URL: provider.url };
  const ours = "our settings or credentials are wrong";
  await heeds(provider, "email", "ann@example.org", env, { 400: "refused", 401: ours, 403: ours, 404: ours, 405: ours, 413: "refused", 500: "unknown" });
  await provider.close();
}

const account = "AC" + "0123456789abcdef".repeat(2);

async function twilio(folder, client) {
  const provider = await prism(join(folder, "twilio/messages.openapi.json"));
  const env = { BELLTOWER_TWILIO_ACCOUNT: account, BELLTOWER_TWILIO_TOKEN_FILE: file("twilio", "token"), BELLTOWER_TWILIO_FROM: "+15005550006", BELLTOWER_TWILIO_URL: provider.url };
  await sends("sms", "+15005550009", env, "accepted");
  const [ours] = provider.requests;
  // Twilio's own client asks for the same, in the same words.
  const theirs = await run(client, [provider.url, account, "token"], { input: ours.body.toString() });
  assert.equal(theirs.code, 0, theirs.out);
  const [, second] = provider.requests;
  assert.equal(ours.method + ours.url, second.method + second.url);
  assert.equal(ours.headers.authorization, second.headers.authorization);
  assert.equal(ours.headers["content-type"], second.headers["content-type"]);
  const form = (request) => Object.fromEntries([...new URLSearchParams(request.body.toString())].sort());
  assert.deepEqual(form(ours), form(second));
  assert.ok(form(ours).Body && form(ours).ValidityPeriod);
  await provider.close();
}

async function fcm(folder) {
  const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const provider = await prism(join(folder, "fcm/fcm_v1_messages_send.openapi3.json"));
  // Prism knows only the call for a message; this is the one for an access token,
  // which is given for a proof that holds (RFC 7523).
  const tokens = await serve((request, response) => {
    const form = new URLSearchParams(request.body.toString());
    const [head, claims, signature] = form.get("assertion").split(".");
    const holds = createVerify("RSA-SHA256").update(`${head}.${claims}`).verify(publicKey, signature, "base64url");
    const claimed = JSON.parse(Buffer.from(claims, "base64url"));
    const right = holds && form.get("grant_type") === "urn:ietf:params:oauth:grant-type:jwt-bearer" && claimed.aud === `${tokens}/token` && claimed.exp > Date.now() / 1000;
    response.writeHead(right ? 200 : 400, { "Content-Type": "application/json" });
    response.end(JSON.stringify(right ? { access_token: "access", expires_in: 3599, token_type: "Bearer" } : { error: "invalid_grant" }));
  });
  const key = {
    type: "service_account", project_id: "bell-tower-1", private_key_id: "1", private_key: privateKey.export({ type: "pkcs8", format: "pem" }),
    client_email: "bells@bell-tower-1.iam.gserviceaccount.com", token_uri: `${tokens}/token`,
  };
  const env = { BELLTOWER_FCM_ACCOUNT_FILE: file("account.json", JSON.stringify(key)), BELLTOWER_FCM_TOKEN_URL: `${tokens}/token`, BELLTOWER_FCM_URL: provider.url };
  const ours = "our settings or credentials are wrong";
  await heeds(provider, "push", "fW9k2_Qx-T0:APA91bHun4", env, { 400: "refused", 403: ours, 404: ours, 429: "not taken now", 503: "not taken now", 504: "unknown" });
  assert.equal(provider.requests[0].headers.authorization, "Bearer access");
  await provider.close();
}

async function slack(folder) {
  const provider = await prism(join(folder, "slack/web_api_subset.openapi3.json"));
  const env = { BELLTOWER_SLACK_TOKEN_FILE: file("slack", "xoxb-1"), BELLTOWER_SLACK_CHANNEL: "C012AB3CD", BELLTOWER_SLACK_URL: provider.url };
  await heeds(provider, "slack", "ann@example.org", env, { 429: "not taken now" });
  await provider.close();
}

// Prism would notice: what isn't as documented is no 2xx.
async function noticesFaults(folder) {
  const provider = await prism(join(folder, "sendgrid/mail_send.openapi.json"));
  const answer = await fetch(`${provider.url}/v3/mail/send`, { method: "POST", headers: { "Content-Type": "application/json", Authorization: "Bearer x" }, body: '{"from": "nobody"}' });
  assert.equal(answer.status, 400);
  await provider.close();
}

export function found(folder) {
  return existsSync(join(folder, "sendgrid/mail_send.openapi.json"));
}

export const checks = { sendgrid, twilio, fcm, slack, noticesFaults };
