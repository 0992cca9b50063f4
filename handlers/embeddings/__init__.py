"""Rows of knowledge get their vectors."""
