"""A red team: attackers write wherever they can, and a model obeys them. The attacks are a table
(attacks.toml); docs/red-team.md shows it with what came of each."""
