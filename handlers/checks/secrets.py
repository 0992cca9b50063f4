"""What nobody may keep about a customer: numbers of cards and accounts, passwords, codes. Pure."""

import regex

from handlers.checks.contacts import ACCOUNT, ways_in
from handlers.rules.seen import seen
from handlers.rules.texts import searched

# A word for it and a value behind it: "has forgotten the password" is no secret.
_SECRET = regex.compile(
    r"(?<!\p{L})(?:pass\s?(?:word|wort|code|phrase)|pwd|pin(?:\s?code)?|cvv2?|cvc2?|otp|tan|puk"
    r"|security\s?code|kennwort|contrase[n\u00f1]a|clave|senha|mot\sde\spasse|parola|wachtwoord"
    r"|[s\u015f]ifre|\u043f\u0430\u0440\u043e\u043b\u044c|\u5bc6\u7801|\u5bc6\u78bc"
    r"|\u30d1\u30b9\u30ef\u30fc\u30c9|kata\s?sandi|\u0643\u0644\u0645\u0629\s\u0627\u0644\u0633\u0631"
    r"|\u092a\u093e\u0938\u0935\u0930\u094d\u0921)(?!\p{L})[^\n]{0,25}?"
    r"(?:[:=]\s*\S|(?<!\p{L})(?:is|are|es|est|ist|\u00e9|\u00e8)\s+\S|\d{3})"
)


def holds_secret(text: str) -> bool:
    return any(way.kind == ACCOUNT for way in ways_in(text)) or bool(
        _SECRET.search(searched(seen(text).text))
    )
