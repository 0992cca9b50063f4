"""The Graph API's error codes by what follows from them. The code decides, not the HTTP status."""

from handlers.whatsapp.port import RefusalKind

_CODES: dict[RefusalKind, frozenset[int]] = {
    "transient": frozenset({1, 2, 131016, 131057, 133004, 2494100}),
    "pair": frozenset({131056}),
    "number": frozenset({130429}),
    "app": frozenset({4, 613, 80007}),
    "window": frozenset({131047}),
    "account": frozenset({0, 3, 10, 33, 190, 131005, 131037, 131042, 131044, 131045})
    | frozenset({133000, 133005, 133006, 133008, 133009, 133010, 133015, 133016})
    | frozenset(range(200, 300)),
    "policy": frozenset({368, 131031, 131048}),
}
_CLASS_OF = {code: kind for kind, codes in _CODES.items() for code in codes}
SOMETHING_WENT_WRONG = 131000  # and the message may have been taken all the same


def class_of(code: int | None, http_status: int) -> RefusalKind | None:
    """None: this error does not say whether the message was taken."""
    if code is not None and (known := _CLASS_OF.get(code)):
        return known
    return None if http_status >= 500 or code == SOMETHING_WENT_WRONG else "refused"
