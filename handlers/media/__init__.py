"""What customers send beside words: fetched from Meta, kept, and removed again."""
