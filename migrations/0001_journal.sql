-- The journal of one node: every event, decision, action and step, in the order of recording.
-- Bounded by the writer (src/io/journal.rs), which deletes the oldest rows.
CREATE TABLE entry (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    unix_ms  INTEGER NOT NULL,             -- wall clock, milliseconds since 1970
    boot_ns  INTEGER NOT NULL,             -- CLOCK_BOOTTIME, nanoseconds: exact within one boot
    epoch    INTEGER NOT NULL,
    kind     TEXT    NOT NULL CHECK (kind IN ('event', 'decision', 'action', 'step')),
    code     TEXT    NOT NULL,             -- stable, for example takeover.done
    severity TEXT    NOT NULL CHECK (severity IN ('info', 'warning', 'error')),
    text     TEXT    NOT NULL,             -- one sentence
    details  TEXT                          -- JSON, NULL if none
);
CREATE INDEX entry_of_epoch ON entry (epoch);
CREATE INDEX entry_of_kind ON entry (kind, id);
