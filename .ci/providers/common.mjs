// What the checks share: servers that keep what they are given, and Belltower's
// own command that sends one message and says what the provider answered.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const folder = mkdtempSync(join(tmpdir(), "belltower-providers-"));

// file keeps a secret as Belltower reads it.
export function file(name, text) {
  const path = join(folder, name);
  writeFileSync(path, text, { mode: 0o600 });
  return path;
}

const servers = [];

export function closeAll() {
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
}

// serve starts a server on a free port; answer is given each request with its body.
export async function serve(answer) {
  const server = http.createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    request.body = Buffer.concat(parts);
    await answer(request, response);
  });
  servers.push(server);
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return `http://127.0.0.1:${server.address().port}`;
}

export function run(command, args, { env = {}, input = "" } = {}) {
  return new Promise((done, fail) => {
    const child = spawn(command, args, { env: { PATH: process.env.PATH, HOME: process.env.HOME, ...env }, cwd: folder });
    let out = "";
    child.stdout.on("data", (text) => (out += text));
    child.stderr.on("data", (text) => (out += text));
    child.on("error", fail);
    child.on("close", (code) => done({ code, out }));
    child.stdin.end(input);
  });
}

const settings = { BELLTOWER_OUTGOING_ALLOW: "127.0.0.0/8,::1/128", BELLTOWER_DATA: join(folder, "data") };

export const belltower = process.argv[2];

// sends one message, and wants an outcome in the words of 'belltower channel test'.
export async function sends(channel, to, env, outcome) {
  const tried = await run(belltower, ["channel", "test", channel, to], { env: { ...settings, ...env } });
  assert.match(tried.out, new RegExp(`^outcome +${outcome}`, "m"), tried.out);
  assert.equal(tried.code === 0, outcome === "accepted", tried.out);
  return tried.out;
}

// started runs the service until it has made its keys, and gives what it said.
export function started(env) {
  return new Promise((done, fail) => {
    const child = spawn(belltower, ["serve", "--listen", "127.0.0.1:0"], { env: { ...settings, ...env, BELLTOWER_ADMIN_TOKEN: "providers" }, cwd: folder });
    let out = "";
    child.stdout.on("data", (text) => {
      out += text;
      if (/delivers to nobody/.test(out)) child.kill("SIGTERM");
    });
    child.stderr.on("data", (text) => (out += text));
    child.on("error", fail);
    child.on("close", (code) => (code === 0 ? done(out) : fail(new Error(out))));
  });
}
