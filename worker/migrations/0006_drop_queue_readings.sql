-- Each worker asks Temporal for the depths of its queues itself. An older worker that finds the table gone logs that it
-- cannot share its readings, and shows no depths. It processes documents as before, and needs the table for nothing
-- else.
DROP TABLE queue_readings;
