"""What an installation is made of: image, compose file, environment, policies, metrics, alerts."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
