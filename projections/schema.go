package projections

import "hash/fnv"

// version names the rows that a history folds to. Rows that differ in anything
// for the same history need another version; a test holds that.
const version = 7

// schema is of one generation. Times are microseconds since 1970, optional text
// is empty when it isn't there, lists of text are JSON. A row belongs to an event
// that is in events, or it is gone: every query joins on that, so that deleting an
// event deletes one row and enters its id in gone, whose rows are swept later.
// tallied is 1 there until the tallies no longer have them.
//
// belonged keeps which event each participant was ever on, also when both are
// gone: a request with an idempotency key is answered again even then.
//
// What words and tags find is named by numbers that only grow, so that new rows
// stand behind the others of the same word: an event by its number, that of the
// fact that made it among all that were folded, and a participant by the revision
// that registered it. The scope of a word is 'event', or the id of the event whose
// participants it finds. Users may have names longer than an index takes: it has
// their hashes.
const schema = `
CREATE TABLE {checkpoint} (
	version     BIGINT NOT NULL,
	log_commit  BIGINT NOT NULL,
	log_prepare BIGINT NOT NULL,
	fact_id     KEY(64) NOT NULL,
	created     BIGINT NOT NULL,
	facts       BIGINT NOT NULL
);
CREATE TABLE {events} (
	id                KEY(64) NOT NULL PRIMARY KEY,
	title             TEXT NOT NULL,
	description       TEXT NOT NULL,
	start_time        BIGINT NOT NULL,
	end_time          BIGINT NOT NULL,
	time_zone         TEXT NOT NULL,
	location          TEXT NOT NULL,
	creator_id        TEXT NOT NULL,
	creator_hash      BIGINT NOT NULL,
	capacity          BIGINT NOT NULL,
	tags              TEXT NOT NULL,
	status            KEY(32) NOT NULL,
	participant_count BIGINT NOT NULL,
	revision          BIGINT NOT NULL,
	created_at        BIGINT NOT NULL,
	updated_at        BIGINT NOT NULL,
	number            BIGINT NOT NULL
);
CREATE INDEX {events_number} ON {events} (number);
CREATE INDEX {events_start} ON {events} (start_time, id);
CREATE INDEX {events_creator} ON {events} (creator_hash, start_time, id);
CREATE INDEX {events_status} ON {events} (status, start_time, id, end_time);
CREATE TABLE {event_tags} (
	tag   KEY(128) NOT NULL,
	event BIGINT NOT NULL,
	PRIMARY KEY (tag, event)
) WITHOUT ROWID;
CREATE TABLE {gone} (event_id KEY(64) NOT NULL PRIMARY KEY, tallied BIGINT NOT NULL) WITHOUT ROWID;
CREATE TABLE {belonged} (participant_id KEY(64) NOT NULL PRIMARY KEY, event_id KEY(64) NOT NULL) WITHOUT ROWID;
CREATE TABLE {participants} (
	id         KEY(64) NOT NULL PRIMARY KEY,
	event_id   KEY(64) NOT NULL,
	registered BIGINT NOT NULL,
	user_id    TEXT NOT NULL,
	user_hash  BIGINT NOT NULL,
	name       TEXT NOT NULL,
	email      TEXT NOT NULL,
	phone      TEXT NOT NULL,
	channels   TEXT NOT NULL,
	time_zone  TEXT NOT NULL,
	locale     TEXT NOT NULL,
	response   KEY(32) NOT NULL,
	status     KEY(32) NOT NULL,
	line       BIGINT,
	opted_out  BIGINT NOT NULL,
	revision   BIGINT NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL
);
CREATE INDEX {participants_event} ON {participants} (event_id, registered);
CREATE INDEX {participants_status} ON {participants} (event_id, status, registered);
CREATE INDEX {participants_line} ON {participants} (event_id, line);
CREATE INDEX {participants_user} ON {participants} (user_hash, event_id);
CREATE TABLE {departures} (
	event_id   KEY(64) NOT NULL,
	line       BIGINT NOT NULL,
	revision   BIGINT NOT NULL,
	updated_at BIGINT NOT NULL,
	PRIMARY KEY (event_id, line)
) WITHOUT ROWID;
CREATE TABLE {reminders} (
	id             KEY(64) NOT NULL PRIMARY KEY,
	event_id       KEY(64) NOT NULL,
	minutes_before BIGINT NOT NULL,
	channels       TEXT NOT NULL,
	message        TEXT NOT NULL,
	revision       BIGINT NOT NULL
);
CREATE INDEX {reminders_event} ON {reminders} (event_id, revision);
CREATE TABLE {notifications} (
	id                  KEY(64) NOT NULL PRIMARY KEY,
	event_id            KEY(64) NOT NULL,
	reminder_id         KEY(64) NOT NULL,
	announcement_id     KEY(64) NOT NULL,
	participant_id      KEY(64) NOT NULL,
	channel             KEY(64) NOT NULL,
	fallback_of         KEY(64) NOT NULL,
	status              KEY(32) NOT NULL,
	message             TEXT NOT NULL,
	scheduled_time      BIGINT NOT NULL,
	next_attempt_time   BIGINT,
	claimed_at          BIGINT,
	sent_time           BIGINT,
	final_at            BIGINT,
	attempts            BIGINT NOT NULL,
	last_error          TEXT NOT NULL,
	in_doubt            BIGINT NOT NULL,
	provider_message_id TEXT NOT NULL,
	revision            BIGINT NOT NULL
);
CREATE INDEX {notifications_time} ON {notifications} (scheduled_time, id);
CREATE INDEX {notifications_event} ON {notifications} (event_id, scheduled_time, id);
CREATE INDEX {notifications_participant} ON {notifications} (participant_id, scheduled_time, id);
CREATE INDEX {notifications_status} ON {notifications} (status, scheduled_time, id, next_attempt_time);
CREATE INDEX {notifications_final} ON {notifications} (final_at);
CREATE TABLE {attempts} (
	notification_id KEY(64) NOT NULL,
	number          BIGINT NOT NULL,
	started_at      BIGINT NOT NULL,
	provider        TEXT NOT NULL,
	outcome         KEY(32) NOT NULL,
	error           TEXT NOT NULL,
	PRIMARY KEY (notification_id, number)
) WITHOUT ROWID;
CREATE TABLE {suppressions} (
	id       KEY(64) NOT NULL PRIMARY KEY,
	kind     KEY(32) NOT NULL,
	masked   TEXT NOT NULL,
	reason   KEY(32) NOT NULL,
	provider KEY(64) NOT NULL,
	code     TEXT NOT NULL,
	since    BIGINT NOT NULL,
	revision BIGINT NOT NULL
);
CREATE INDEX {suppressions_since} ON {suppressions} (since, id);
CREATE TABLE {cleared} (
	log_commit  BIGINT NOT NULL,
	log_prepare BIGINT NOT NULL,
	removed     BIGINT NOT NULL,
	PRIMARY KEY (log_commit, log_prepare)
) WITHOUT ROWID;
CREATE TABLE {tallies} (
	kind KEY(32) NOT NULL,
	name KEY(64) NOT NULL,
	n    BIGINT NOT NULL,
	PRIMARY KEY (kind, name)
) WITHOUT ROWID;
CREATE TABLE {words} (
	scope  KEY(64) NOT NULL,
	folded KEY(64) NOT NULL,
	number BIGINT NOT NULL,
	PRIMARY KEY (scope, folded, number)
) WITHOUT ROWID;
`

// shape names a table's columns, those of its primary key first.
type shape struct {
	table   string // as queries name it
	keys    int
	columns []string
	ignore  bool // a row that is inserted and is there already stays
}

func (s shape) key() []string { return s.columns[:s.keys] }

// The tables in the order in which generations are compared and dropped, but for the checkpoint.
var (
	eventsShape = shape{"{events}", 1, []string{"id", "title", "description", "start_time", "end_time", "time_zone", "location",
		"creator_id", "creator_hash", "capacity", "tags", "status", "participant_count", "revision", "created_at", "updated_at", "number"}, false}
	tagsShape         = shape{"{event_tags}", 2, []string{"tag", "event"}, false}
	goneShape         = shape{"{gone}", 1, []string{"event_id", "tallied"}, false}
	belongedShape     = shape{"{belonged}", 1, []string{"participant_id", "event_id"}, true}
	participantsShape = shape{"{participants}", 1, []string{"id", "event_id", "registered", "user_id", "user_hash", "name", "email", "phone",
		"channels", "time_zone", "locale", "response", "status", "line", "opted_out", "revision", "created_at", "updated_at"}, false}
	departuresShape    = shape{"{departures}", 2, []string{"event_id", "line", "revision", "updated_at"}, false}
	remindersShape     = shape{"{reminders}", 1, []string{"id", "event_id", "minutes_before", "channels", "message", "revision"}, false}
	notificationsShape = shape{"{notifications}", 1, []string{"id", "event_id", "reminder_id", "announcement_id", "participant_id", "channel",
		"fallback_of", "status", "message", "scheduled_time", "next_attempt_time", "claimed_at", "sent_time", "final_at", "attempts", "last_error", "in_doubt",
		"provider_message_id", "revision"}, false}
	attemptsShape     = shape{"{attempts}", 2, []string{"notification_id", "number", "started_at", "provider", "outcome", "error"}, false}
	suppressionsShape = shape{"{suppressions}", 1, []string{"id", "kind", "masked", "reason", "provider", "code", "since", "revision"}, false}
	clearedShape      = shape{"{cleared}", 2, []string{"log_commit", "log_prepare", "removed"}, false}
	talliesShape      = shape{"{tallies}", 2, []string{"kind", "name", "n"}, false}
	wordsShape        = shape{"{words}", 3, []string{"scope", "folded", "number"}, false}

	shapes = []shape{eventsShape, tagsShape, goneShape, belongedShape, participantsShape, departuresShape, remindersShape,
		notificationsShape, attemptsShape, suppressionsShape, clearedShape, talliesShape, wordsShape}
)

// hash is where the name of a user stands in an index.
func hash(name string) int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return int64(h.Sum64())
}
