-- Knowledge comes in documents too: a worker makes rows of them before they are imported.

ALTER TABLE imports
    ADD COLUMN form text,  -- of the file, while it is still a document; NULL: rows
    ADD CONSTRAINT imports_form_check
        CHECK (form IS NULL OR (form IN ('pdf', 'docx', 'html') AND what = 'knowledge')) NOT VALID;
