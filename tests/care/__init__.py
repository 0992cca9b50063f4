"""Customers who want no advertising, other bots, and how much one customer may cost a day."""
