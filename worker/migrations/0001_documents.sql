-- One row a document, one row a passage, written in the transaction that records the effect.
CREATE TABLE documents (
    document_id text PRIMARY KEY,
    source      text NOT NULL,
    sha256      text NOT NULL,
    bytes       bigint NOT NULL,
    media_type  text NOT NULL,
    title       text,
    words       bigint NOT NULL,
    passages    int NOT NULL,
    workflow_id text NOT NULL,
    run_id      text NOT NULL,
    stored_at   timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE passages (
    document_id text NOT NULL REFERENCES documents (document_id) ON DELETE CASCADE,
    ordinal     int NOT NULL,
    text        text NOT NULL,
    words       int NOT NULL,
    sha256      text NOT NULL,
    PRIMARY KEY (document_id, ordinal)
);

-- What took effect: at most once a workflow and step, held by the constraint and not by the code.
CREATE TABLE effects (
    workflow_id text NOT NULL,
    step        text NOT NULL,
    at          timestamptz NOT NULL DEFAULT now(),
    UNIQUE (workflow_id, step)
);

-- What was tried: every attempt of every activity, without a constraint, so that repeats show.
CREATE TABLE attempts (
    workflow_id text NOT NULL,
    step        text NOT NULL,
    attempt     int NOT NULL,
    worker      text NOT NULL,
    at          timestamptz NOT NULL DEFAULT now()
);
