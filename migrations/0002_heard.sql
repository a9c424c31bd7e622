-- What callers said, an utterance a row, where that is written down. It may come after the end of its
-- call.
CREATE TABLE heard (
    call_id TEXT NOT NULL REFERENCES calls (id) ON UPDATE CASCADE ON DELETE CASCADE,
    seq BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    until_ms BIGINT NOT NULL,
    said TEXT NOT NULL,
    PRIMARY KEY (call_id, seq)
);
