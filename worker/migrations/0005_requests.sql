-- Which request a row is of. The newest request wins: docs/documents.md. The defaults make a row of an older worker
-- older than every request of this one.
ALTER TABLE documents
    -- When the run of the workflow began, by Temporal's clock.
    ADD COLUMN requested_at timestamptz NOT NULL DEFAULT '-infinity',
    -- When its store step was scheduled. A workflow that is reset has a second run with the same beginning.
    ADD COLUMN scheduled_at timestamptz NOT NULL DEFAULT '-infinity',
    -- What that request did: `stored`, or `unchanged` where it found its own content.
    ADD COLUMN outcome      text        NOT NULL DEFAULT 'stored';

-- How often the step took effect, over all runs of the workflow id. More often than it ran is a fault.
ALTER TABLE effects ADD COLUMN times int NOT NULL DEFAULT 1;

-- For the retention, which deletes the oldest rows first.
CREATE INDEX effects_at ON effects (at);
CREATE INDEX attempts_at ON attempts (at);
