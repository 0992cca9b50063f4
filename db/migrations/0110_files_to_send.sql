-- Files that a tenant gives, to be sent: media that no message brought. One place for both, since both
-- are /v1/media/{id}, and go in the same ways: with their chatbot, their person, their tenant.

ALTER TABLE media
    ALTER COLUMN chatbot_id DROP NOT NULL,
    ALTER COLUMN contact_id DROP NOT NULL,
    ALTER COLUMN conversation_id DROP NOT NULL,
    ALTER COLUMN message_id DROP NOT NULL,
    ALTER COLUMN handle DROP NOT NULL,
    ADD COLUMN name  text CHECK (length(name) BETWEEN 1 AND 200),   -- the file's, as it is sent
    ADD COLUMN title text CHECK (length(title) BETWEEN 1 AND 200),  -- by which a bot is offered it
    ADD CONSTRAINT media_brought_or_given CHECK (
        CASE WHEN message_id IS NULL
             THEN num_nonnulls(conversation_id, handle, usage_day) = 0 AND status = 'stored'
                  AND settled_at IS NOT NULL
             ELSE num_nulls(chatbot_id, contact_id, conversation_id, handle) = 0
                  AND num_nonnulls(name, title) = 0 END),
    -- What is about one person is offered to nobody else, and what is offered has a bot.
    ADD CONSTRAINT media_offered CHECK
        (title IS NULL OR (chatbot_id IS NOT NULL AND contact_id IS NULL));
CREATE INDEX media_given ON media (user_id, id) WHERE message_id IS NULL;
CREATE INDEX media_offered ON media (user_id, chatbot_id, id) WHERE title IS NOT NULL;

-- Under which id Meta has a file, for one number: it is uploaded once, and anew when that has expired
-- or Meta says that it is gone.
CREATE TABLE media_handles (
    user_id         bigint      NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    media_id        bigint      NOT NULL,
    phone_number_id text        NOT NULL,
    handle          text        NOT NULL,
    expires_at      timestamptz NOT NULL,
    PRIMARY KEY (user_id, media_id, phone_number_id),
    FOREIGN KEY (user_id, media_id) REFERENCES media (user_id, id) ON DELETE CASCADE
);
ALTER TABLE media_handles ENABLE ROW LEVEL SECURITY;
ALTER TABLE media_handles FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON media_handles
    USING (user_id = (SELECT nullif(current_setting('app.user_id', true), '')::bigint))
    WITH CHECK (user_id = (SELECT nullif(current_setting('app.user_id', true), '')::bigint));
GRANT SELECT, INSERT, UPDATE, DELETE ON media_handles TO swiftreplies_app;

-- What a tenant gave on a day of theirs: a bound, and what an operator pays for.
ALTER TABLE media_days
    ADD COLUMN given       bigint NOT NULL DEFAULT 0 CHECK (given >= 0),
    ADD COLUMN given_bytes bigint NOT NULL DEFAULT 0 CHECK (given_bytes >= 0);
