// EventStoreDB's own client for Node against a server: node check.mjs CONNECTION-STRING
//
// It does what an application does: append, read, expect, subscribe, delete.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import {
  ANY, BACKWARDS, END, EventStoreDBClient, FORWARDS, NO_STREAM, START, STREAM_EXISTS,
  StreamDeletedError, StreamNotFoundError, WrongExpectedVersionError,
  excludeSystemEvents, jsonEvent, streamNameFilter,
} from "@eventstore/db-client";

const client = EventStoreDBClient.connectionString(process.argv[2]);
const event = (n) => jsonEvent({ type: "Happened", data: { n }, metadata: { $correlationId: randomUUID() } });
const name = (kind) => `${kind}-${randomUUID()}`;
const all = async (read) => {
  const events = [];
  for await (const { event } of read) events.push(event);
  return events;
};
const numbers = (events) => events.map((e) => e.data.n);

const checks = {
  async "appends and reads both ways"() {
    const s = name("node");
    const written = await client.appendToStream(s, [event(0), event(1), event(2)], { expectedRevision: NO_STREAM });
    assert.equal(written.success, true);
    assert.equal(written.nextExpectedRevision, 2n);
    assert.ok(written.position.commit > 0n);
    await client.appendToStream(s, event(3), { expectedRevision: 2n });
    await client.appendToStream(s, event(4), { expectedRevision: STREAM_EXISTS });
    await client.appendToStream(s, event(5), { expectedRevision: ANY });
    assert.deepEqual(numbers(await all(client.readStream(s))), [0, 1, 2, 3, 4, 5]);
    assert.deepEqual(numbers(await all(client.readStream(s, { direction: BACKWARDS, fromRevision: END, maxCount: 2 }))), [5, 4]);
    assert.deepEqual(numbers(await all(client.readStream(s, { fromRevision: 4n }))), [4, 5]);
    const [first] = await all(client.readStream(s, { maxCount: 1 }));
    assert.equal(first.type, "Happened");
    assert.equal(first.isJson, true);
    assert.ok(Math.abs(Date.now() - first.created.getTime()) < 3_600_000);
    assert.ok(first.metadata.$correlationId);
  },

  async "refuses what another writer came before, and takes the same again"() {
    const s = name("node");
    const events = [event(0), event(1)];
    await client.appendToStream(s, events, { expectedRevision: NO_STREAM });
    await client.appendToStream(s, events, { expectedRevision: NO_STREAM });
    await assert.rejects(client.appendToStream(s, event(2), { expectedRevision: NO_STREAM }), (e) => {
      assert.ok(e instanceof WrongExpectedVersionError, e);
      assert.equal(e.actualVersion, 1n);
      return true;
    });
    assert.equal((await all(client.readStream(s))).length, 2);
  },

  async "reads $all"() {
    const s = name("node");
    const { position } = await client.appendToStream(s, event(7), { expectedRevision: NO_STREAM });
    const [found] = await all(client.readAll({ direction: FORWARDS, fromPosition: position, maxCount: 1 }));
    assert.equal(found.streamId, s);
    const [last] = await all(client.readAll({ direction: BACKWARDS, fromPosition: END, maxCount: 1 }));
    assert.equal(last.streamId, s);
    assert.deepEqual(last.position, position);
  },

  async "subscribes to $all with filters, from the start and on"() {
    const prefix = `node${randomUUID()}`;
    await client.appendToStream(`${prefix}-a`, [event(0), event(1)], { expectedRevision: NO_STREAM });
    await client.appendToStream(name("noise"), event(99), { expectedRevision: NO_STREAM });
    const seen = [];
    const subscription = client.subscribeToAll({ fromPosition: START, filter: streamNameFilter({ prefixes: [prefix] }) });
    for await (const { event: e } of subscription) {
      seen.push(e.data.n);
      if (seen.length === 2) await client.appendToStream(`${prefix}-b`, event(2), { expectedRevision: NO_STREAM });
      if (seen.length === 3) break;
    }
    assert.deepEqual(seen, [0, 1, 2]);
    await subscription.unsubscribe();

    const others = client.subscribeToAll({ fromPosition: START, filter: excludeSystemEvents() });
    for await (const { event: e } of others) {
      assert.ok(!e.type.startsWith("$"));
      if (e.streamId === `${prefix}-b`) break;
    }
    await others.unsubscribe();
  },

  async "subscribes to a stream"() {
    const s = name("node");
    await client.appendToStream(s, [event(0), event(1), event(2)], { expectedRevision: NO_STREAM });
    const seen = [];
    const subscription = client.subscribeToStream(s, { fromRevision: 0n });
    for await (const { event: e } of subscription) {
      seen.push(e.data.n);
      if (seen.length === 2) await client.appendToStream(s, event(3), { expectedRevision: 2n });
      if (seen.length === 3) break;
    }
    assert.deepEqual(seen, [1, 2, 3]);
    await subscription.unsubscribe();
  },

  async "deletes, begins anew, and ends for ever"() {
    const s = name("node");
    await assert.rejects(all(client.readStream(s)), StreamNotFoundError);
    await client.appendToStream(s, [event(0), event(1)], { expectedRevision: NO_STREAM });
    await assert.rejects(client.deleteStream(s, { expectedRevision: 0n }), WrongExpectedVersionError);
    await client.deleteStream(s, { expectedRevision: 1n });
    await assert.rejects(all(client.readStream(s)), StreamNotFoundError);
    const again = await client.appendToStream(s, event(2), { expectedRevision: NO_STREAM });
    assert.equal(again.nextExpectedRevision, 2n);
    assert.deepEqual(numbers(await all(client.readStream(s))), [2]);
    await client.tombstoneStream(s);
    await assert.rejects(all(client.readStream(s)), StreamDeletedError);
    await assert.rejects(client.appendToStream(s, event(3)), StreamDeletedError);
  },

  async "keeps stream metadata"() {
    const s = name("node");
    await client.appendToStream(s, [event(0), event(1), event(2)], { expectedRevision: NO_STREAM });
    await client.setStreamMetadata(s, { maxCount: 1 });
    assert.deepEqual(numbers(await all(client.readStream(s))), [2]);
    assert.equal((await client.getStreamMetadata(s)).metadata.maxCount, 1);
  },
};

let failed = 0;
for (const [what, check] of Object.entries(checks)) {
  const began = Date.now();
  try {
    await Promise.race([
      check(),
      new Promise((_, reject) => setTimeout(() => reject(new Error("it takes longer than a minute")), 60_000).unref()),
    ]);
    console.log(`ok    ${what} (${Date.now() - began} ms)`);
  } catch (e) {
    failed++;
    console.log(`FAIL  ${what}:`, e);
  }
}
await client.dispose();
console.log(failed === 0 ? `all ${Object.keys(checks).length} checks passed` : `${failed} checks failed`);
process.exit(failed === 0 ? 0 : 1);
