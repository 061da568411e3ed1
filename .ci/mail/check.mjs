// Mails that the binary sent, by other authors' eyes: node check.mjs BELLTOWER FOLDER PYTHON
//
// smtp-server takes them, mailauth and dkimpy verify what signs them, against what
// 'belltower dkim records' says is to be published, and mailparser reads them.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { dkimVerify } from "mailauth/lib/dkim/verify.js";
import { simpleParser } from "mailparser";
import { SMTPServer } from "smtp-server";

const [binary, folder, python] = process.argv.slice(2);
const limit = 120_000;
mkdirSync(folder, { recursive: true });

// What came, as it came.
const mails = [];
const server = new SMTPServer({
  disabledCommands: ["AUTH", "STARTTLS"],
  onData(stream, session, done) {
    const parts = [];
    stream.on("data", (part) => parts.push(part));
    stream.on("end", () => {
      mails.push({ from: session.envelope.mailFrom.address, to: session.envelope.rcptTo.map((r) => r.address), raw: Buffer.concat(parts) });
      done();
    });
  },
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));

const keys = { rsa: join(folder, "rsa.pem"), ed25519: join(folder, "ed25519.pem") };
const env = {
  PATH: process.env.PATH,
  BELLTOWER_ADMIN_TOKEN: "mail",
  BELLTOWER_SMTP: `smtp://127.0.0.1:${server.server.address().port}`,
  BELLTOWER_SMTP_TLS: "none",
  BELLTOWER_SMTP_FROM: "Chör <choir@sender.example>",
  BELLTOWER_SMTP_DKIM: Object.entries(keys).map(([kind, file]) => `${kind}-2031=${file}`).join(","),
  BELLTOWER_SMTP_BOUNCE_ADDRESS: "bounces@sender.example",
  BELLTOWER_PUBLIC_URL: "https://bells.sender.example",
};
const belltower = (...args) => execFileSync(binary, args, { env, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"], cwd: folder });
for (const [kind, file] of Object.entries(keys)) belltower("dkim", "make", file, "--type", kind, "--selector", `${kind}-2031`, "--domain", "sender.example");
const zone = {};
for (const line of belltower("dkim", "records").trim().split("\n")) {
  const [name, texts] = line.split(". IN TXT ");
  zone[name] = [...texts.matchAll(/"([^"]*)"/g)].map((m) => m[1]).join("");
}
assert.deepEqual(Object.keys(zone).sort(), ["ed25519-2031._domainkey.sender.example", "rsa-2031._domainkey.sender.example"]);

// A service that has something to send.
const service = spawn(binary, ["serve", "--listen", "127.0.0.1:0", "--data", join(folder, "data")], { env, cwd: folder });
let said = "";
service.stdout.on("data", (part) => (said += part));
service.stderr.on("data", (part) => (said += part));
const ended = new Promise((end) => service.on("exit", end));
const until = async (what, holds) => {
  for (const began = Date.now(); !holds(); ) {
    assert.ok(Date.now() - began < limit && service.exitCode === null, `${what}:\n${said}`);
    await new Promise((later) => setTimeout(later, 50));
  }
};
try {
  await until("it serves", () => /^ *address +\S+/m.test(said));
  const base = said.match(/^ *address +(\S+)/m)[1];
  const api = async (path, body) => {
    const response = await fetch(base + path, { method: "POST", headers: { Authorization: "Bearer mail", "Content-Type": "application/json" }, body: JSON.stringify(body) });
    assert.ok(response.ok, `${path}: ${response.status}`);
    return response.json();
  };
  const start = new Date(Date.now() + 30 * 86_400_000);
  start.setMilliseconds(0);
  const title = "Grandsire; triples, “and” more \\ 鐘";
  const event = await api("/v1/events", { title, description: "Rounds", location: "Łódź, north tower", start_time: start.toISOString(), end_time: new Date(+start + 7_200_000).toISOString() });
  await api(`/v1/events/${event.id}/participants`, { user_id: "ann", name: "Ann Ünver", email: "ann@example.org" });
  const texts = ["Hello", ".\n..\n.hidden dots\n", "From the tower\n\n\n   blanks   \t\n\n", `${"long ".repeat(400)}${"W".repeat(1500)}`, "Schöne Grüße 🔔 =?utf-8?Q?a?= =20"];
  for (const message of texts) await api(`/v1/events/${event.id}/announcements`, { message });
  await until("the mails are there", () => mails.length >= texts.length);

  const resolver = async (name, kind) => {
    assert.equal(kind, "TXT");
    if (zone[name]) return [[zone[name]]];
    throw Object.assign(new Error("no such name"), { code: "ENOTFOUND" });
  };
  const results = async (raw) => (await dkimVerify(raw, { resolver })).results.map((r) => `${r.algo} ${r.status.result}`).sort();
  const read = [];
  for (const { raw, from, to } of mails) {
    assert.deepEqual(await results(raw), ["ed25519-sha256 pass", "rsa-sha256 pass"]);
    const { headers } = raw.toString("latin1").match(/^(?<headers>[^]*?)\r\n\r\n/).groups;
    const covered = headers.match(/ h=([^;]+);/)[1].toLowerCase().split(/\s*:\s*/);
    for (const header of ["list-unsubscribe", "list-unsubscribe-post", "from", "to", "subject", "date", "message-id", "mime-version", "content-type", "auto-submitted"]) {
      assert.equal(covered.filter((c) => c === header).length, 2, header); // RFC 8058, section 4; and none can be added
    }
    assert.deepEqual(await results(Buffer.concat([Buffer.from("Subject: Eve\r\n"), raw])), ["ed25519-sha256 fail", "rsa-sha256 fail"]);
    assert.deepEqual(await results(Buffer.concat([raw, Buffer.from("Eve\r\n")])), ["ed25519-sha256 neutral", "rsa-sha256 neutral"], "the body's hash is another");
    assert.match(from, /^bounces\+[a-z2-7]{42}@sender\.example$/);
    assert.deepEqual(to, ["ann@example.org"]);

    const mail = await simpleParser(raw);
    read.push(mail.text);
    assert.equal(mail.from.value[0].name, "Chör");
    assert.deepEqual(mail.to.value, [{ name: "Ann Ünver", address: "ann@example.org" }]);
    assert.match(mail.messageId, /^<[0-9a-f-]{36}@sender\.example>$/);
    assert.equal(mail.headers.get("auto-submitted"), "auto-generated");
    assert.match(mail.headers.get("list").unsubscribe.url, /^https:\/\/bells\.sender\.example\/v1\/opt-out\/[\w-]+$/);
    assert.equal(mail.headers.get("list").unsubscribe.mail, undefined);
    assert.equal(mail.headerLines.filter((h) => h.key === "list-unsubscribe-post").map((h) => h.line.split(": ")[1]).join(), "List-Unsubscribe=One-Click");
    assert.equal(mail.attachments.length, 1);
    const [file] = mail.attachments;
    assert.equal(file.contentType, "text/calendar");
    assert.equal(file.filename, "event.ics");
    const calendar = file.content.toString("utf8").replace(/\r\n[ \t]/g, "");
    assert.match(calendar, /^BEGIN:VCALENDAR\r\n[^]*\r\nEND:VCALENDAR\r\n$/);
    assert.match(calendar, /^METHOD:PUBLISH\r$/m);
    assert.match(calendar, new RegExp(`^UID:${event.id}\\r$`, "m"));
    assert.match(calendar, new RegExp(`^DTSTART:${start.toISOString().replace(/[-:]|\.000/g, "")}\\r$`, "m"));
    assert.ok(calendar.includes("SUMMARY:Grandsire\\; triples\\, “and” more \\\\ 鐘\r\n"), calendar);
    assert.ok(mail.text.includes(title) && mail.text.includes("Łódź, north tower"), mail.text);
  }
  for (const text of texts) assert.ok(read.some((got) => got.replace(/\r/g, "").startsWith(text.trimEnd().slice(0, 60))), text);

  mails.forEach(({ raw }, i) => writeFileSync(join(folder, `${i}.eml`), raw));
  writeFileSync(join(folder, "zone.json"), JSON.stringify(zone));
  process.stdout.write(execFileSync(python, [new URL("dkimpy.py", import.meta.url).pathname, folder], { encoding: "utf8" }));
  console.log(`mailauth, mailparser: ${mails.length} mails, two signatures each`);
} finally {
  service.kill("SIGTERM");
  await ended;
  server.close();
}
