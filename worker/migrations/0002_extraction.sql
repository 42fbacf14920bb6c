-- What extraction finds besides text. Every column may be missing or has a default: rows from before stay valid, and a worker
-- from before can still insert while a rolling update runs.
ALTER TABLE documents
    -- By its name in the Encoding Standard; none for a PDF.
    ADD COLUMN charset             text,
    -- ISO 639-3, and how sure that is in percent.
    ADD COLUMN language            text,
    ADD COLUMN language_confidence smallint,
    ADD COLUMN pages               int,
    -- The 64 bits of docs/documents.md. Two documents differ in bit_count((a.signature # b.signature)::bit(64)) of them.
    ADD COLUMN signature           bigint,
    -- The first headings [{"level": 1, "text": "…"}] and links [{"target": "…", "text": "…"}]; the counts are of all.
    ADD COLUMN headings            jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN heading_count       int   NOT NULL DEFAULT 0,
    ADD COLUMN links               jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN link_count          int   NOT NULL DEFAULT 0;
