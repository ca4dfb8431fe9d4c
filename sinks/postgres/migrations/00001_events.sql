-- +goose Up
-- One row per event of the events topic. Partitioned by month of event_time; the sink makes the partitions.
-- An event's id is a hash that covers its time, so (id, event_time) is as unique as the id alone, which a partitioned
-- table cannot have as its key.
CREATE TABLE events (
    id               text        NOT NULL,
    -- Microseconds, for queries; event_time_ns is exact.
    event_time       timestamptz NOT NULL,
    event_time_ns    bigint      NOT NULL,
    detector         text        NOT NULL,
    detector_version bigint      NOT NULL,
    type             text        NOT NULL,
    severity         text        NOT NULL,
    status           text        NOT NULL,
    dedup_key        text        NOT NULL,
    key              text        NOT NULL,
    venue            text        NOT NULL,
    symbol           text        NOT NULL,
    assets           text[]      NOT NULL,
    description      text        NOT NULL,
    -- The whole evidence as protojson, and its measures once more as {"name": value}.
    evidence         jsonb,
    measures         jsonb       NOT NULL,
    -- The input record at which the event was raised.
    source           text        NOT NULL,
    source_topic     text        NOT NULL,
    source_partition integer     NOT NULL,
    source_offset    bigint      NOT NULL,
    config_hash      text        NOT NULL,
    -- Where the event itself lies.
    log_topic        text        NOT NULL,
    log_partition    integer     NOT NULL,
    log_offset       bigint      NOT NULL,
    published_at     timestamptz NOT NULL,
    PRIMARY KEY (id, event_time)
) PARTITION BY RANGE (event_time);

CREATE INDEX events_time ON events (event_time DESC);
CREATE INDEX events_symbol ON events (symbol, event_time DESC);

-- The next offset to write of each partition, moved in the transaction that writes the rows.
CREATE TABLE sink_positions (
    topic       text        NOT NULL,
    partition   integer     NOT NULL,
    next_offset bigint      NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition)
);

-- +goose Down
DROP TABLE sink_positions;
DROP TABLE events;
