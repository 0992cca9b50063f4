"""Zones as people name them."""

import difflib
from zoneinfo import available_timezones

NEAR = 5


def zone_problem(name: str) -> str | None:
    """What is wrong with a zone's name, and which may be meant."""
    zones = available_timezones()
    if name in zones:
        return None
    asked = name.casefold().replace(" ", "_")
    by_name = {zone.casefold(): zone for zone in sorted(zones)}
    by_city = {zone.casefold().rsplit("/", 1)[-1]: zone for zone in sorted(zones)}
    city = asked.rsplit("/", 1)[-1]
    near = [
        *([by_name[asked]] if asked in by_name else []),
        *(zone for zone in by_name.values() if zone.casefold().endswith(f"/{city}")),
        *(by_name[one] for one in difflib.get_close_matches(asked, by_name, NEAR)),
        *(by_city[one] for one in difflib.get_close_matches(city, by_city, NEAR)),
    ]
    meant = ", ".join([*dict.fromkeys(near)][:NEAR])
    return f"there is no zone {name!r}: " + (
        f"is it {meant}?" if meant else "it is like Europe/Madrid or America/Sao_Paulo"
    )
