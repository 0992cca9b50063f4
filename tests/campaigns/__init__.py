"""Campaigns, from a draft to their figures, look by look."""
