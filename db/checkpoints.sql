-- name: load_checkpoint
SELECT c.checkpoint_id, c.checkpoint, c.metadata,
       ARRAY (SELECT b.channel FROM checkpoint_blobs b
               WHERE b.thread_id = $1 AND b.checkpoint_ns = '' ORDER BY b.channel, b.version)
           AS channels,
       ARRAY (SELECT b.version FROM checkpoint_blobs b
               WHERE b.thread_id = $1 AND b.checkpoint_ns = '' ORDER BY b.channel, b.version)
           AS versions,
       ARRAY (SELECT b.type FROM checkpoint_blobs b
               WHERE b.thread_id = $1 AND b.checkpoint_ns = '' ORDER BY b.channel, b.version)
           AS types,
       ARRAY (SELECT b.blob FROM checkpoint_blobs b
               WHERE b.thread_id = $1 AND b.checkpoint_ns = '' ORDER BY b.channel, b.version)
           AS blobs
  FROM checkpoints c
 WHERE c.thread_id = $1 AND c.checkpoint_ns = ''
 ORDER BY c.checkpoint_id DESC LIMIT 1;

-- name: save_checkpoint
-- One row a thread: what came before goes in the same statement. LangGraph's own saver keeps
-- every version, which grows with the square of the conversation's length.
WITH old AS (
    DELETE FROM checkpoints WHERE thread_id = $1 AND checkpoint_id <> $2
), old_blobs AS (
    DELETE FROM checkpoint_blobs WHERE thread_id = $1 AND (channel, version) NOT IN
        (SELECT * FROM unnest($5::text[], $6::text[]))
), old_writes AS (
    DELETE FROM checkpoint_writes WHERE thread_id = $1
), blobs AS (
    INSERT INTO checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
    SELECT $1, '', * FROM unnest($5::text[], $6::text[], $7::text[], $8::bytea[])
    ON CONFLICT (thread_id, checkpoint_ns, channel, version)
        DO UPDATE SET type = EXCLUDED.type, blob = EXCLUDED.blob
)
INSERT INTO checkpoints (thread_id, checkpoint_ns, checkpoint_id, checkpoint, metadata)
VALUES ($1, '', $2, $3, $4)
ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id)
    DO UPDATE SET checkpoint = EXCLUDED.checkpoint, metadata = EXCLUDED.metadata;
