"""What a tenant gives of a template. What Meta would refuse of it is checking.py's."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from handlers.templates.checking import COMPONENTS_MAX
from handlers.whatsapp.cloud_api.details import plain
from ingress.api.fields import wrong

DEPTH_MAX = 8  # a card's button's example has six


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=0) if isinstance(value, dict | list) else 0


def _plain(given: list[Any]) -> list[Any]:
    if not all(isinstance(one, dict) for one in given):
        raise wrong("has an item that is no object")
    if _depth(given) > 2 * DEPTH_MAX:
        raise wrong(f"nests more than {2 * DEPTH_MAX} levels deep")
    if plain(given) != given:
        raise wrong("has characters or numbers that cannot be stored")
    return given


Name = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[a-z0-9_]+$")]
Language = Annotated[
    str,
    Field(max_length=8, pattern=r"^[a-z]{2,3}(_[A-Z]{2,3})?$", description="Meta's code: pt_BR"),
]
Category = Annotated[
    Literal["MARKETING", "UTILITY"], Field(description="Meta may give it another, and says so")
]
ParameterFormat = Annotated[
    Literal["POSITIONAL", "NAMED"], Field(description="{{1}}, or {{first_name}}")
]
Components = Annotated[
    list[Any],
    Field(min_length=1, max_length=COMPONENTS_MAX, description="as Meta's"),
    AfterValidator(_plain),
    WithJsonSchema(
        {
            "type": "array",
            "minItems": 1,
            "maxItems": COMPONENTS_MAX,
            "items": {"type": "object"},
        }
    ),
]
Word = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Z_]+$")]
