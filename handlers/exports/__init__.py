"""A tenant's data, or one person's, as one ZIP of CSV and JSONL."""
