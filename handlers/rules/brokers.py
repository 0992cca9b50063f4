"""The brokers of AMQP_URL: one, or several to be tried in turn."""

import re


def brokers(urls: str) -> list[str]:
    """Told apart by the commas before a scheme; a password may have one of its own."""
    parts = re.split(r",(?=\s*amqps?://)", urls)
    return [url for part in parts if (url := part.strip(" ,\t\r\n"))]
