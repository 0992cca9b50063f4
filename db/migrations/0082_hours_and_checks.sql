-- When a business is open, and what becomes of an answer that names what nobody told the chatbot.

-- business_hours: {"mon": [["09:00", "18:00"]], ..., "closed": ["2026-12-25"]}; NULL: nobody said.
ALTER TABLE chatbots
    ADD COLUMN business_hours jsonb,
    ADD COLUMN answer_checks text NOT NULL DEFAULT 'block',
    ADD CONSTRAINT chatbots_business_hours_check
        CHECK (jsonb_typeof(business_hours) = 'object') NOT VALID,
    ADD CONSTRAINT chatbots_answer_checks_check
        CHECK (answer_checks IN ('block', 'warn')) NOT VALID;

-- Beside the trigger of 0050: of two that fire at one change the second finds the version raised.
CREATE TRIGGER raise_chatbot_version_of_answers AFTER UPDATE ON chatbots
    FOR EACH ROW WHEN (NEW.version = OLD.version AND
        (OLD.business_hours, OLD.answer_checks)
        IS DISTINCT FROM (NEW.business_hours, NEW.answer_checks))
    EXECUTE FUNCTION raise_chatbot_version();
