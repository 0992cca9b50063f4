"""What tenants name by a URL, and how it is reached: the one way out that does not lead inside."""
