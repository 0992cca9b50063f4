"""What a benchmark compares with: the least that does the same outward work."""
