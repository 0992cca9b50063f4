"""How customers are named here: by the digits of their number, or by their BSUID."""

import re

from simulator import fields
from simulator.fields import Unfit


def is_bsuid(value: str) -> bool:
    return re.fullmatch(r"[A-Z]{2}\.(ENT\.)?[A-Za-z0-9]{1,128}", value) is not None


def bsuid(value: object) -> str:
    if not is_bsuid(user_id := fields.text(value)):
        raise Unfit("must be a business-scoped user id such as US.7749201836651042378")
    return user_id


def customer_key(value: str) -> str:
    return value if is_bsuid(value) else re.sub(r"[^0-9]", "", value)
