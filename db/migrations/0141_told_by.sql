-- With which message the customer was told of a call: where that does not reach them, they were not.
ALTER TABLE tool_calls ADD COLUMN told_by bigint;  -- of messages; it may be gone by now
