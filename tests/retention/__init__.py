"""What is old goes, and nothing else does."""
