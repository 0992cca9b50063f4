-- What is in a document becomes words, and a picture is kept as it was drawn anew: once as people see
-- it, once as a model does.

ALTER TABLE media
    ADD COLUMN text       text CHECK (length(text) <= 20000),  -- of a document
    ADD COLUMN small_file text;  -- of a picture, beside `file`

CREATE OR REPLACE FUNCTION note_file_to_remove() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.files_to_remove (user_id, file)
    SELECT OLD.user_id, f FROM unnest(ARRAY[OLD.file, OLD.small_file]) f WHERE f IS NOT NULL;
    RETURN NULL;
END $$;
