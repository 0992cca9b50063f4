-- What a list costs is no matter of how much its tenant has. Writers of these two tables wait while
-- an index is built: half a second for half a million deliveries.

-- Of all actions few are such, and they were looked for in all.
CREATE INDEX actions_auto_approve ON actions (user_id, (id + 0)) WHERE auto_approve_similar;

-- Counted for each webhook that is shown: with the tenant in the index no row is read, 9 ms for 10,000.
CREATE INDEX webhook_deliveries_missed ON webhook_deliveries (webhook_id, event_id)
    INCLUDE (user_id) WHERE status = 'pending' AND due_at IS NULL;
DROP INDEX webhook_deliveries_kept;
-- By event, as they are listed; all that waited were read and sorted.
CREATE INDEX webhook_deliveries_waiting ON webhook_deliveries (webhook_id, event_id)
    WHERE status = 'pending' AND due_at IS NOT NULL;
