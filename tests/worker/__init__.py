"""The worker's roles, in this process, with a real broker and database."""
