"""Pure functions against any input: every script, whatever a server or a customer may send."""
