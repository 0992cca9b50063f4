"""What tenants are told, and how it reaches their programs."""
