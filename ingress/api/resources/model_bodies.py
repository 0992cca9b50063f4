"""What a tenant gives of a chatbot's model: within the bodies of POST and PATCH."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationInfo, WithJsonSchema

from handlers.outbound.urls import MAX_URL_CHARS, problem
from handlers.rules.models import (
    FALLBACKS_MAX,
    KEY_CHARS,
    LEAST_OUTPUT,
    MOST_OUTPUT,
    NAME_CHARS,
    Effort,
)
from ingress.api.fields import Body, unless_given, wrong


def _reachable(given: str, info: ValidationInfo) -> str:
    detail = problem(given, (info.context or {})["outbound"])  # read_json() gives it
    if detail is None and "?" in given:
        detail = "The URL has a query (?...): leave it out."
    if detail is not None:
        raise wrong(detail)
    return given


Name = Annotated[
    str,
    Field(
        min_length=1,
        max_length=NAME_CHARS,
        pattern=r"^[!-~]+$",
        description="as the model's server calls it; without one the installation's",
    ),
]
BaseUrl = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_URL_CHARS,
        description="of a server that speaks OpenAI's chat completions, up to /chat/completions,"
        " reachable from the internet; needs an api_key of its own",
    ),
    AfterValidator(_reachable),
]
ApiKey = Annotated[
    str,
    Field(
        min_length=1,
        max_length=KEY_CHARS,
        pattern=r"^[!-~]+$",
        description="for this base_url, with another it has to be given anew; written and never"
        " shown",
        json_schema_extra={"writeOnly": True},
    ),
]
Temperature = Annotated[
    float,
    Field(ge=0, le=2),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": 2}),
]
OutputTokens = Annotated[
    int,
    Field(
        ge=LEAST_OUTPUT,
        le=MOST_OUTPUT,
        description="of one answer, with what the model thinks",
    ),
]
OfEffort = Annotated[
    Effort, Field(description="of a model that thinks; its answers get room for that")
]
SeesImages = Annotated[bool, Field(description="it may be shown pictures")]


class _Asked(Body):
    base_url: BaseUrl = unless_given()
    api_key: ApiKey = unless_given()
    temperature: Temperature = unless_given()
    max_output_tokens: OutputTokens = unless_given()
    reasoning_effort: OfEffort = unless_given()
    sees_images: SeesImages = unless_given()


class Fallback(_Asked):
    """Asked when those before it are away."""

    name: Name


Fallbacks = Annotated[
    list[Fallback],
    Field(max_length=FALLBACKS_MAX, description="in this order; replaced whole"),
]


class ModelMade(_Asked):
    name: Name = unless_given()
    fallbacks: Fallbacks = unless_given()


class ModelChange(Body):
    """Merged by member; null takes away."""

    name: Name | None = None
    base_url: BaseUrl | None = None
    api_key: ApiKey | None = None
    temperature: Temperature | None = None
    max_output_tokens: OutputTokens | None = None
    reasoning_effort: OfEffort | None = None
    sees_images: SeesImages | None = None
    fallbacks: Fallbacks | None = None


def given_of(model: ModelMade | ModelChange) -> dict[str, Any]:
    given = model.given()
    if given.get("fallbacks") is not None:
        given["fallbacks"] = [one.given() for one in given["fallbacks"]]
    return given
