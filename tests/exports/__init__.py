"""Exports, and the store that their files are in."""
