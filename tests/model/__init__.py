"""The product's own functions in any order: turns, sends, sweeps and statuses, stepped one
statement at a time against a real database, and judged after every commit."""
