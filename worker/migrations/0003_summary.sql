-- The document in a few sentences, by an LLM; null where none was asked for or none could be had.
ALTER TABLE documents ADD COLUMN summary text;
