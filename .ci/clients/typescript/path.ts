// Goes the README's path through a client whose types openapi-typescript has made
// from the OpenAPI document: node made/path.js URL TOKEN. docs/clients.md shows
// parts of it.
import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import createClient from "openapi-fetch";
import type { components, paths } from "./belltower.js";

type Notification = components["schemas"]["NotificationSummary"];
type StreamedFact = components["schemas"]["StreamedFact"];

const [url, token] = process.argv.slice(2);
if (url === undefined || token === undefined) {
  console.error("usage: path.js URL TOKEN");
  process.exit(2);
}

// docs: client
const client = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${token}` } });
// docs: end

const HOUR = 3_600_000;
const from = (milliseconds: number): string => new Date(Date.now() + milliseconds).toISOString();

function expect(what: boolean, answer: unknown): asserts what {
  if (!what) {
    throw new Error(`unexpected: ${JSON.stringify(answer)}`);
  }
}

function after(answer: Response): string {
  const token = answer.headers.get("Consistency-Token");
  expect(token !== null, Object.fromEntries(answer.headers));
  return token;
}

function step(name: string): void {
  console.log(`typescript client: ${name}`);
}

// docs: schedule
const key = randomUUID(); // of this wish: kept for as long as it is tried
const wish = {
  params: { header: { "Idempotency-Key": key } },
  body: {
    title: "Bell-ringing course",
    description: "Rounds",
    location: "The tower",
    start_time: from(2 * HOUR),
    end_time: from(4 * HOUR),
  },
};
const made = await client.POST("/v1/events", wish);
if (made.data === undefined) {
  throw new Error(made.error.detail); // a problem, with errors where fields are wrong
}
const event = made.data;
// docs: end
const again = await client.POST("/v1/events", wish);
expect(again.data?.id === event.id && again.response.headers.get("Idempotent-Replayed") === "true", again);
step("schedule an event, twice with one key");

const wrong = await client.POST("/v1/events", {
  body: { title: "", description: "Rounds", start_time: from(2 * HOUR), end_time: from(HOUR) },
});
// docs: faults
for (const fault of wrong.error?.errors ?? []) {
  console.log(`  ${fault.field}: ${fault.message} (${fault.code})`);
}
// docs: end
expect(wrong.response.status === 422 && wrong.error?.errors?.length === 2, wrong);
step("see every fault of a wrong one");

const path = { id: event.id };
const registered = await client.POST("/v1/events/{id}/participants", {
  params: { path },
  body: { user_id: "ann", name: "Ann", email: "ann@example.org" },
});
expect(registered.data?.status === "confirmed", registered);
step("register a participant");

// sent looks until a notification that is meant is SENT.
async function sent(token: string, meant: (n: Notification) => boolean): Promise<void> {
  for (let tries = 0; tries < 1200; tries++) {
    // docs: read your writes
    const list = await client.GET("/v1/events/{id}/notifications", {
      params: { path, header: { "Consistency-Token": token } },
    });
    // docs: end
    expect(list.data !== undefined, list);
    if (list.data.items.some((n) => meant(n) && n.status === "SENT")) {
      return;
    }
    await pause(100);
  }
  throw new Error("it is not sent");
}

// The event moves until the reminder's time is over and the start is not: then it goes out at once.
const reminder = await client.POST("/v1/events/{id}/reminders", { params: { path }, body: { minutes_before: 60 } });
const reminderId = reminder.data?.id;
expect(reminderId !== undefined && reminder.data?.minutes_before === 60, reminder);
const moved = await client.PATCH("/v1/events/{id}", {
  params: { path },
  body: { start_time: from(HOUR / 2), end_time: from(HOUR) },
});
expect(moved.data !== undefined, moved);
await sent(after(moved.response), (n) => n.reminder_id === reminderId);
step("remind");

const announced = await client.POST("/v1/events/{id}/announcements", {
  params: { path },
  body: { message: "{{ participant.name }}, please bring soft shoes." },
});
const announcementId = announced.data?.id;
expect(announcementId !== undefined && announced.data?.recipients === 1, announced);
await sent(after(announced.response), (n) => n.announcement_id === announcementId);
step("announce");

// docs: change
const seen = await client.GET("/v1/events/{id}", { params: { path } });
const etag = seen.response.headers.get("ETag") ?? "";
const changed = await client.PATCH("/v1/events/{id}", {
  params: { path, header: { "If-Match": etag } },
  body: { location: null }, // null clears it; what is not named stays
});
// docs: end
expect(changed.data?.location === null && changed.data.title === event.title, changed);
const stale = await client.PATCH("/v1/events/{id}", {
  params: { path, header: { "If-Match": etag } },
  body: { title: "Another" },
});
expect(stale.response.status === 412, stale);
step("clear a field, and not over a newer state");

const types: string[] = [];
for (let cursor: string | undefined; ; ) {
  const page = await client.GET("/v1/events/{id}/history", {
    params: { path, query: cursor === undefined ? { limit: 2 } : { limit: 2, cursor } },
  });
  expect(page.data !== undefined, page);
  types.push(...page.data.items.map((fact) => fact.type));
  cursor = page.data.next_cursor;
  if (cursor === undefined) {
    break;
  }
}
expect(
  types.join() === "EventScheduled,ParticipantRegistered,ReminderAdded,EventRescheduled,AnnouncementMade,EventDetailsChanged",
  types,
);
step("read the history");

async function streamed(type: string): Promise<StreamedFact> {
  // docs: stream
  const stream = await client.GET("/v1/stream", {
    params: { query: { event_id: event.id }, header: { "Last-Event-ID": "0" } }, // the id of the last event received
    parseAs: "stream",
  });
  expect(stream.data != null, stream.response.status);
  let text = "";
  for await (const piece of stream.data.pipeThrough(new TextDecoderStream())) {
    text += piece;
    const lines = text.split("\n");
    text = lines.pop() ?? "";
    for (const line of lines.filter((line) => line.startsWith("data: "))) {
      const fact = JSON.parse(line.slice("data: ".length)) as StreamedFact;
      if (fact.type === type) {
        return fact; // which ends the stream
      }
    }
  }
  // docs: end
  throw new Error(`the stream ended before ${type}`);
}
const last = await streamed("EventDetailsChanged");
expect(last.actor === "admin", last);
step("read the stream");

const stats = await client.GET("/v1/stats");
expect(stats.data?.conservation.holes === 0 && (stats.data.notifications.by_status.SENT ?? 0) >= 2, stats);
step("read the statistics");

const gone = await client.DELETE("/v1/events/{id}", { params: { path } });
expect(gone.response.status === 204, gone);
const missing = await client.GET("/v1/events/{id}", {
  params: { path, header: { "Consistency-Token": after(gone.response) } },
});
expect(missing.error?.code === "event_not_found", missing);
step("delete the event");
console.log("typescript client: all well");
