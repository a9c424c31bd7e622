-- Calls, and what was said and measured in them. One text for SQLite and PostgreSQL: no type that
-- only one of them has. Moments are milliseconds, of Unix time or since the call began.
CREATE TABLE calls (
    id TEXT NOT NULL PRIMARY KEY,
    admitted_ms BIGINT NOT NULL,
    started_ms BIGINT NOT NULL,
    touched_ms BIGINT NOT NULL,
    ended_ms BIGINT,
    duration_ms BIGINT NOT NULL,
    instance TEXT NOT NULL,
    direction TEXT NOT NULL,
    from_number TEXT NOT NULL,
    to_number TEXT NOT NULL,
    persona TEXT NOT NULL,
    engines TEXT NOT NULL,
    announced BIGINT NOT NULL,
    reason TEXT,
    words BIGINT NOT NULL,
    first_audio_ms BIGINT,
    depth_p50_ms BIGINT,
    engine_ms BIGINT NOT NULL,
    -- What is searched: numbers, persona and words, in lower case.
    found_by TEXT NOT NULL,
    record TEXT,
    bytes BIGINT NOT NULL,
    recording TEXT,
    recording_format TEXT,
    recording_bytes BIGINT NOT NULL DEFAULT 0
);

CREATE INDEX calls_by_start ON calls (started_ms, id);
CREATE INDEX calls_by_end ON calls (ended_ms);

CREATE TABLE words (
    call_id TEXT NOT NULL REFERENCES calls (id) ON UPDATE CASCADE ON DELETE CASCADE,
    seq BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    who TEXT NOT NULL,
    word TEXT NOT NULL,
    PRIMARY KEY (call_id, seq)
);

CREATE TABLE notes (
    call_id TEXT NOT NULL REFERENCES calls (id) ON UPDATE CASCADE ON DELETE CASCADE,
    seq BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    kind TEXT NOT NULL,
    note TEXT NOT NULL,
    PRIMARY KEY (call_id, seq)
);

CREATE TABLE samples (
    call_id TEXT NOT NULL REFERENCES calls (id) ON UPDATE CASCADE ON DELETE CASCADE,
    at_s BIGINT NOT NULL,
    depth_ms BIGINT NOT NULL,
    target_ms BIGINT NOT NULL,
    queued_ms BIGINT NOT NULL,
    caller_dbfs DOUBLE PRECISION NOT NULL,
    engine_dbfs DOUBLE PRECISION NOT NULL,
    real_time_permille BIGINT,
    PRIMARY KEY (call_id, at_s)
);
