// A push service that others wrote takes our pushes, checks who sends, and reads
// what is in them as a browser does.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { sends, started } from "./common.mjs";

const require = createRequire(import.meta.url);
const { PushApiModel } = require("web-push-testing/src/PushApiModel.js");
const Service = require("web-push-testing/src/server.js");

async function freePort() {
  const server = createServer();
  await new Promise((done) => server.listen(0, "localhost", done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

export async function webpush() {
  const env = { BELLTOWER_WEBPUSH_CONTACT: "mailto:choir@example.org", BELLTOWER_WEBPUSH_SERVICES: "localhost" };
  const said = await started(env);
  const key = /public key ([\w-]+)/.exec(said)[1];
  const port = await freePort();
  const service = new Service(new PushApiModel(), port);
  service.startServer();
  const ask = async (path, form = {}) => {
    const answer = await fetch(`http://localhost:${port}/${path}`, { method: "POST", body: new URLSearchParams(form) });
    return answer.headers.get("content-type")?.includes("json") ? answer.json() : answer.text();
  };
  const subscribe = async (applicationServerKey) => (await ask("subscribe", { userVisibleOnly: "true", applicationServerKey })).data;

  const browser = await subscribe(key);
  await sends("push", JSON.stringify(browser), env, "accepted");
  const { messages } = (await ask("get-notifications", { clientHash: browser.clientHash })).data;
  assert.equal(messages.length, 1);
  const message = JSON.parse(messages[0]);
  assert.equal(message.title, "Test message from Belltower");
  assert.match(message.notification_id, /^[0-9a-f-]{36}$/);

  // Who has subscribed for another's key takes nothing of ours.
  const other = await subscribe("BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8");
  await sends("push", JSON.stringify(other), env, "refused");
  await ask(`expire-subscription/${browser.clientHash}`);
  await sends("push", JSON.stringify(browser), env, "refused: there is no such address");
  service._server.closeAllConnections();
  service._server.close();
}
