-- In which language code speaks to a customer, where no model does: the one that somebody chose for
-- the contact (else it is told from what they wrote), else the chatbot's, else the tenant's; BCP 47.
-- And what a chatbot says instead of our texts: {kind: {language: text}}.

ALTER TABLE contacts ADD COLUMN language text,
    ADD CONSTRAINT contacts_language_form
        CHECK (language ~ '^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$' AND length(language) <= 35);
ALTER TABLE chatbots ADD COLUMN language text,
    ADD COLUMN texts jsonb NOT NULL DEFAULT '{}',
    ADD CONSTRAINT chatbots_language_form
        CHECK (language ~ '^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$' AND length(language) <= 35),
    ADD CONSTRAINT chatbots_texts_form CHECK (jsonb_typeof(texts) = 'object');
ALTER TABLE users ADD COLUMN language text,
    ADD CONSTRAINT users_language_form
        CHECK (language ~ '^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$' AND length(language) <= 35);
GRANT UPDATE (language) ON users TO swiftreplies_app;
