"""Campaigns: whom they are for, and what becomes of them."""
