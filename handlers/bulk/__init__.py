"""Many rows at once, from files and into files."""
