"""Turns as functions, over a real database; the offline answerer thinks."""
