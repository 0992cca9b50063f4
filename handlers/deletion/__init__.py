"""A chatbot is deleted: at once it is in no answer, and what it had goes in batches."""
