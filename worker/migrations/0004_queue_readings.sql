-- What Temporal last said of each queue, and which worker asks it. Unlogged: after a crash it is asked again.
CREATE UNLOGGED TABLE queue_readings (
    namespace           text NOT NULL,
    queue               text NOT NULL,
    kind                text NOT NULL,
    -- The worker that asks for all, and until when nobody else may.
    reader              text NOT NULL,
    lease_until         timestamptz NOT NULL,
    -- The last reading; null where there is none, or where Temporal could not be asked.
    read_at             timestamptz,
    depth               bigint,
    backlog_age_seconds double precision,
    add_rate            double precision,
    dispatch_rate       double precision,
    pollers             bigint,
    PRIMARY KEY (namespace, queue, kind)
);
