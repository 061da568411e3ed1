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

// serving runs the service, in a folder of its own, until it is stopped.
export function serving(env) {
  const data = mkdtempSync(join(folder, "served-"));
  const token = "providers";
  return new Promise((done, fail) => {
    const child = spawn(belltower, ["serve", "--listen", "127.0.0.1:0"], { env: { ...settings, ...env, BELLTOWER_DATA: data, BELLTOWER_ADMIN_TOKEN: token }, cwd: folder });
    let out = "";
    const ended = new Promise((end) => child.on("close", end));
    const stop = async () => {
      child.kill("SIGTERM");
      assert.equal(await ended, 0, out);
      return out;
    };
    const heard = (text) => {
      out += text;
      const url = /^ *address +(http\S+)/m.exec(out)?.[1];
      if (!url || !/delivers to nobody/.test(out)) return;
      const ask = async (status, method, path, body) => {
        const answer = await fetch(url + path, { method, headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" }, body: body && JSON.stringify(body) });
        const said = await answer.text();
        assert.equal(answer.status, status, said);
        return said && JSON.parse(said);
      };
      done({ url, ask, stop });
    };
    child.stdout.on("data", heard);
    child.stderr.on("data", heard);
    child.on("error", fail);
    ended.then(() => fail(new Error(out)));
  });
}

// started runs the service until it has made its keys, and gives what it said.
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
