"""What a tenant gives of a chatbot: the bodies of POST and PATCH."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from db.ids import TemplateId
from handlers import chatbots
from handlers.fixed.choices import WORD_CHARS, WORDS_MAX, spelling
from handlers.fixed.texts import (
    MAX_TAG_CHARS,
    PARAMETERS,
    SHORTENED_UNITS,
    Kind,
    is_language,
)
from handlers.rules import hours
from handlers.rules.numbers import normalised
from handlers.rules.reply import MAX_CHARS
from ingress.api.fields import NO_NUL, Body, RowId, unless_given, wrong
from ingress.api.resources.budget_bodies import Budgets, BudgetsMade, BudgetsMerged
from ingress.api.resources.model_bodies import ModelChange, ModelMade
from ingress.api.resources.template_sends import PARAMETERS_SCHEMA, Parameters

NAME_CHARS = 255
INSTRUCTIONS_CHARS = 20_000  # some 5,000 tokens of every prompt
TOKEN_CHARS = 2_000
TOPIC_CHARS = 500
NUMBER_CHARS = 40
TEXT = r"^[^\x00]*\S[^\x00]*$"
NUMBER = r"^\+[ ()./-]*[1-9]([ ()./-]*[0-9]){6,14}[ ()./-]*$"
LANGUAGE = r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$"
PROBLEM_CHARS = 2_000  # of all that is wrong with texts


def _not_blank(given: str) -> str:
    if not given.strip():
        raise wrong("empty")
    return given


def _number(given: str) -> str:
    number = normalised(given) if given.startswith("+") else None
    if number is None:
        raise wrong("not a number like +12025550143: a plus, the country's code, 7 to 15 digits")
    return number


def _language(given: str) -> str:
    if not is_language(given):
        raise wrong("no language tag, like es or pt-BR")
    return given


def _texts(given: dict[str, Any]) -> dict[str, Any]:
    found = chatbots.text_problems(given)
    if found:
        raise wrong("; ".join(found)[:PROBLEM_CHARS])
    return given


def _all_texts(given: dict[str, Any]) -> dict[str, Any]:
    """Of a new chatbot, where there is nothing that null could take away."""
    if None in given.values() or any(
        isinstance(one, dict) and None in one.values() for one in given.values()
    ):
        raise wrong("has null: leave it out")
    return _texts(given)


def _word(given: str) -> str:
    if "\0" in given or not spelling(given):
        raise wrong("has no letter or digit" if "\0" not in given else "has a NUL character")
    return given


def _texts_schema(*, nulls: bool) -> WithJsonSchema:
    null = ["null"] if nulls else []
    kinds = {}
    for kind in Kind:
        named = "|".join(PARAMETERS.get(kind, ()))
        text = {
            "type": ["string", *null],
            "maxLength": SHORTENED_UNITS if kind is Kind.SHORTENED else MAX_CHARS,
            "pattern": TEXT,
            "not": {"type": "string", "pattern": rf"\{{(?!({named})\}})[^{{}}]*\}}"},
        }
        kinds[kind.value] = {
            "type": ["object", *null],
            "propertyNames": {"pattern": LANGUAGE, "maxLength": MAX_TAG_CHARS},
            "additionalProperties": text,
        }
    return WithJsonSchema({"type": "object", "properties": kinds, "additionalProperties": False})


Name = Annotated[
    str,
    Field(min_length=1, max_length=NAME_CHARS, description="as the bot introduces itself"),
    AfterValidator(_not_blank),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": NAME_CHARS, "pattern": TEXT}),
]
Number = Annotated[
    str,
    Field(max_length=NUMBER_CHARS),
    AfterValidator(_number),
    WithJsonSchema({"type": "string", "maxLength": NUMBER_CHARS, "pattern": NUMBER}),
]
MetaId = Annotated[
    str,
    Field(min_length=1, max_length=64, pattern=r"^[0-9A-Za-z_-]+$"),
]
OfNumber = Annotated[
    Number | None,
    Field(
        description="a claim until `access_token` has read `phone_number_id` and found this number"
    ),
]
OfId = Annotated[
    MetaId | None, Field(description="Meta's id of the number; a claim as the number is")
]
OfAccount = Annotated[
    MetaId | None,
    Field(description="Meta's id of the WhatsApp Business account; a claim until read"),
]
Token = Annotated[
    str,
    Field(
        min_length=1,
        max_length=TOKEN_CHARS,
        pattern=r"^[!-~]+$",
        description="of a system user of Meta's; written and never shown",
        json_schema_extra={"writeOnly": True},
    ),
]
Instructions = Annotated[
    str | None,
    Field(max_length=INSTRUCTIONS_CHARS, description="what the bot is told about itself"),
    WithJsonSchema(
        {"type": ["string", "null"], "maxLength": INSTRUCTIONS_CHARS, "pattern": r"^[^\x00]*$"}
    ),
]
Active = Annotated[bool, Field(description="false: messages are recorded and not answered")]
Status = Annotated[
    Literal["active", "paused"],
    Field(description="paused: messages are recorded; what is active again in 12 h is answered"),
]
Language = Annotated[
    str,
    Field(max_length=MAX_TAG_CHARS),
    AfterValidator(_language),
    WithJsonSchema({"type": "string", "maxLength": MAX_TAG_CHARS, "pattern": LANGUAGE}),
]
OfLanguage = Annotated[
    Language | None, Field(description="of fixed texts, where the customer's is not known")
]
Texts = Annotated[
    dict[str, Any],
    AfterValidator(_all_texts),
    _texts_schema(nulls=False),
    Field(description="said instead of ours: {kind: {language: text}}"),
]
TextsChange = Annotated[
    dict[str, Any],
    AfterValidator(_texts),
    _texts_schema(nulls=True),
    Field(description="merged by kind and language; null takes away"),
]
TEMPLATE_NAME, TEMPLATE_LANGUAGE = r"^[a-z0-9_]+$", r"^[a-z]{2,3}([_-][A-Za-z]{2,4})?$"
TemplateName = Annotated[str, Field(min_length=1, max_length=512, pattern=TEMPLATE_NAME)]
TemplateLanguage = Annotated[str, Field(max_length=8, pattern=TEMPLATE_LANGUAGE)]


Topic = Annotated[
    str | None,
    Field(max_length=TOPIC_CHARS, description="what the bot is there for; the rest it declines"),
    WithJsonSchema({"type": ["string", "null"], "maxLength": TOPIC_CHARS, "pattern": NO_NUL}),
]
OptOutWord = Annotated[
    str,
    Field(min_length=1, max_length=WORD_CHARS),
    AfterValidator(_word),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": WORD_CHARS, "pattern": TEXT}),
]
OrderMessages = Annotated[
    list[Literal["confirmed", "preparing", "shipped", "delivered", "cancelled"]],
    Field(
        max_length=5,
        description="states of an order that its customer is told of; none, unless you say so",
    ),
]
OptOutWords = Annotated[
    list[OptOutWord],
    Field(
        max_length=WORDS_MAX,
        description="a message that is only one of these ends advertising, as STOP does",
    ),
]


class FilledTemplate(Body):
    template_id: Annotated[RowId[TemplateId], Field(description="of the chatbot's account")]
    parameters: Parameters = Field(default_factory=dict)


class Template(Body):
    """Its name and language, where it has no parameters; or its row and what fills it."""

    name: TemplateName = unless_given()
    language: TemplateLanguage = unless_given()
    template_id: RowId[TemplateId] = unless_given()
    parameters: Parameters = unless_given()

    @model_validator(mode="after")
    def _one(self) -> Self:
        if not one_way(self.model_fields_set):
            raise wrong("give name and language, or template_id and parameters")
        return self


class TemplateChange(Template):
    """Of name and language what is given."""


def one_way(names: set[str]) -> bool:
    by_row = "template_id" in names
    return not names - ({"template_id", "parameters"} if by_row else {"name", "language"})


def _template_schema(*required: str) -> WithJsonSchema:
    by_name = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 512, "pattern": TEMPLATE_NAME},
            "language": {"type": "string", "maxLength": 8, "pattern": TEMPLATE_LANGUAGE},
        },
        "required": list(required),
        "additionalProperties": False,
    }
    by_row = {
        "type": "object",
        "properties": {
            "template_id": {"type": "integer", "minimum": 0, "maximum": 10**18 - 1},
            "parameters": PARAMETERS_SCHEMA,
        },
        "required": ["template_id"],
        "additionalProperties": False,
    }
    choices = [by_name, by_row, {"type": "null"}]
    return WithJsonSchema({"type": ["object", "null"], "anyOf": choices})


_OF_TEMPLATE = Field(
    description="an approved one, sent where WhatsApp takes no free text: by name and language if"
    " it has no parameters, else by `template_id` and `parameters`"
)
OfTemplate = Annotated[Template | None, _template_schema("name", "language"), _OF_TEMPLATE]
TemplateMerged = Annotated[TemplateChange | None, _template_schema(), _OF_TEMPLATE]
OrderTemplate = Annotated[
    FilledTemplate | None,
    Field(description="instead of an order's message outside the window: `order.…`, `reply`"),
]
DecisionTemplate = Annotated[
    FilledTemplate | None,
    Field(description="instead of a decision outside the window: `action.…`, `reply`"),
]
MarketingApi = Annotated[
    bool, Field(description="MARKETING templates go through Meta's endpoint of their own")
]


Embeddings = Annotated[
    bool,
    Field(
        description="rows of knowledge are found by what they mean too, where the installation has"
        " a model for it"
    ),
]


def _hours(given: dict[str, Any]) -> dict[str, Any]:
    found = hours.problems({day: value for day, value in given.items() if value is not None})
    if found:
        raise wrong("; ".join(found)[:PROBLEM_CHARS])
    return given


def _hours_made(given: dict[str, Any]) -> dict[str, Any]:
    if None in given.values():
        raise wrong("has null: leave it out")
    return _hours(given)


def _hours_schema(*, nulls: bool) -> WithJsonSchema:
    null = ["null"] if nulls else []
    span = {
        "type": "array",
        "prefixItems": [
            {"type": "string", "pattern": hours.TIME},
            {"type": "string", "pattern": hours.END},
        ],
        "minItems": 2,
        "maxItems": 2,
    }
    day = {"type": ["array", *null], "maxItems": hours.SPANS_MAX, "items": span}
    dates = {
        "type": ["array", *null],
        "maxItems": hours.CLOSED_MAX,
        "items": {"type": "string", "format": "date", "pattern": hours.DATE},
    }
    return WithJsonSchema(
        {
            "type": ["object", "null"],
            "properties": {**dict.fromkeys(hours.DAYS, day), hours.CLOSED: dates},
            "additionalProperties": False,
        }
    )


_OF_HOURS = Field(
    description="when you are open, by your zone's clock: pairs of from and to a day, and closed"
    " dates; a day that is not there is closed; a `to` that is not after its `from` is on the next"
    " day; times of a day do not overlap; null: nobody said"
)
Hours = Annotated[
    dict[str, Any] | None,
    AfterValidator(lambda given: given if given is None else _hours_made(given)),
    _hours_schema(nulls=False),
    _OF_HOURS,
]
HoursChange = Annotated[
    dict[str, Any] | None,
    AfterValidator(lambda given: given if given is None else _hours(given)),
    _hours_schema(nulls=True),
    _OF_HOURS,
]
Checks = Annotated[
    Literal["block", "warn"],
    Field(
        description="what becomes of an answer that names a link, number, amount or deed that the"
        " bot was not told of: block takes it out, warn only notes it in `metadata.findings`"
    ),
]


class ChatbotMade(Body):
    name: Name
    whatsapp_phone_number: OfNumber = None
    phone_number_id: OfId = None
    waba_id: OfAccount = None
    access_token: Token = unless_given()
    general_instructions: Instructions = None
    is_active: Active = True
    bot_status: Status = "active"
    language: OfLanguage = None
    texts: Texts = Field(default_factory=dict)
    embeddings: Embeddings = False
    window_template: OfTemplate = None
    budgets: Budgets = Field(default_factory=BudgetsMade)
    business_hours: Hours = None
    answer_checks: Checks = "block"
    model: ModelMade = unless_given()
    topic: Topic = None
    opt_out_words: OptOutWords = Field(default_factory=list)
    order_messages: OrderMessages = Field(default_factory=list)
    marketing_api: MarketingApi = False
    order_template: OrderTemplate = None
    decision_template: DecisionTemplate = None


class ChatbotChange(Body):
    name: Name = unless_given()
    whatsapp_phone_number: OfNumber = None
    phone_number_id: OfId = None
    waba_id: OfAccount = None
    access_token: Token = unless_given()
    general_instructions: Instructions = None
    is_active: Active = unless_given()
    bot_status: Status = unless_given()
    language: OfLanguage = None
    texts: TextsChange = unless_given()
    embeddings: Embeddings = unless_given()
    window_template: TemplateMerged = None
    budgets: BudgetsMerged = unless_given()
    business_hours: HoursChange = None
    answer_checks: Checks = unless_given()
    model: ModelChange | None = None
    topic: Topic = None
    opt_out_words: OptOutWords = unless_given()
    order_messages: OrderMessages = unless_given()
    marketing_api: MarketingApi = unless_given()
    order_template: OrderTemplate = None
    decision_template: DecisionTemplate = None
