-- Each process writes a marker into the store that it reaches and reads one that another has written:
-- so that they are one is proven, and not concluded from an identity, which a copy has too.
ALTER TABLE media_stores
    ADD COLUMN marker  text,     -- what it has last written there; NULL: of a release before, or it could not
    ADD COLUMN read_of text,     -- whose marker it has last looked for
    ADD COLUMN found   boolean,  -- and whether that was there
    ADD COLUMN problem text;     -- why it cannot use it
