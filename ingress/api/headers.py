"""The headers of requests and answers, as the API's description says them. Pure."""

from typing import Any

from ingress.api.table import IDEMPOTENCY_CHARS, AnyEndpoint, Intake, Outflow, StoredFile

Schema = dict[str, Any]

IDEMPOTENCY_KEY: Schema = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "a value of your own: for 24 hours, repeating the request with it makes nothing"
    " and gets the first answer",
    "schema": {
        "type": "string",
        "minLength": 1,
        "maxLength": IDEMPOTENCY_CHARS,
        "pattern": r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$",
    },
    "example": "order-4711-1",
}
IF_MATCH: Schema = {
    "name": "If-Match",
    "in": "header",
    "description": "the ETag of what you read: changed meanwhile, it is 412; without it the last"
    " change wins. `*`, or up to 50 ETags, as RFC 9110 writes them",
    "schema": {"type": "string"},  # its form is HTTP's
    "example": '"7"',
}

PREFER: Schema = {
    "name": "Prefer",
    "in": "header",
    "description": "`respond-async`: 202 with the job at once, however short it is",
    "schema": {"type": "string"},
    "example": "respond-async",
}

_TEXT: Schema = {"type": "string"}
_SECONDS: Schema = {"type": "integer", "minimum": 0}
CACHE_CONTROL: Schema = {
    "description": "what is answered is a tenant's, and true for a moment",
    "required": True,
    "schema": {"type": "string", "const": "no-store"},
}
ETAG: Schema = {
    "description": "of this version, for If-Match",
    "required": True,
    "schema": {"type": "string", "pattern": r'^"[0-9]+"$'},
}
LOCATION: Schema = {
    "description": "the job that it is done by",
    "required": True,
    "schema": {"type": "string", "format": "uri-reference", "pattern": "^/v1/jobs/[0-9]+$"},
}
RETRY_AFTER: Schema = {
    "description": "seconds after which it may go",
    "required": True,
    "schema": _SECONDS,
}
_FILE: dict[str, Schema] = {
    "Content-Disposition": {
        "description": "`attachment`, with the file's name",
        "required": True,
        "schema": _TEXT,
    },
    "Content-Length": {"description": "bytes", "schema": _SECONDS},
    "X-Content-Type-Options": {"description": "`nosniff`", "schema": _TEXT},
}

PACE: dict[str, Schema] = {
    "RateLimit-Policy": {
        "description": "how many calls (`q`) the key, and all keys of the account, may make in `w`"
        " seconds; where the key is known",
        "schema": _TEXT,
    },
    "RateLimit": {
        "description": "how many are left (`r`), and after how many seconds there are all again"
        " (`t`); where the key is known",
        "schema": _TEXT,
    },
}
_OF_OUTFLOW = ("Content-Disposition", "X-Content-Type-Options")  # nobody knows how long it is

# By the name of the problem.
OF_PROBLEMS: dict[str, dict[str, Schema]] = {
    "not_authenticated": {
        "WWW-Authenticate": {
            "description": "the scheme to use: Bearer",
            "required": True,
            "schema": {"type": "string", "const": "Bearer"},
        }
    },
    "precondition_failed": {"ETag": {**ETAG, "description": "of the version that there is"}},
    "idempotency_in_progress": {"Retry-After": RETRY_AFTER},
    "too_many_requests": {"Retry-After": RETRY_AFTER},
    "message_limit": {"Retry-After": RETRY_AFTER},
    "unavailable": {"Retry-After": RETRY_AFTER},
    "model_unavailable": {"Retry-After": RETRY_AFTER},
    "no_answer_in_time": {"Retry-After": RETRY_AFTER},
}


def of_answer(endpoint: AnyEndpoint, status: int) -> dict[str, Schema]:
    found = {"Cache-Control": CACHE_CONTROL} | PACE
    if endpoint.answers is StoredFile:
        return found | _FILE
    if isinstance(endpoint, Outflow):
        return found | {name: _FILE[name] for name in _OF_OUTFLOW}
    if status == 202 and (endpoint.begins_job or isinstance(endpoint, Intake)):
        found["Location"] = LOCATION
    if endpoint.versioned and status != 204:
        found["ETag"] = ETAG
    return found


def of_problems(names: list[str]) -> dict[str, Schema]:
    """Of one status: a header that not all of its problems have may be missing."""
    found = {"Cache-Control": CACHE_CONTROL} | PACE
    for name in names:
        for header, schema in OF_PROBLEMS.get(name, {}).items():
            everywhere = all(header in OF_PROBLEMS.get(other, {}) for other in names)
            found[header] = schema if everywhere else {**schema, "required": False}
    return found
