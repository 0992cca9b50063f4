"""What the Graph API tells of a number, a token and an account."""

import secrets
from collections.abc import Sequence

from aiohttp import web

from simulator.graph_call import authorize
from simulator.graph_errors import Refused, error_answer
from simulator.settings import ACCOUNT_ID, Number
from simulator.state import STATE, State


async def show_number(request: web.Request) -> web.Response:
    """What a token check asks for: the number itself."""
    state = request.app[STATE]
    phone_number_id = request.match_info["phone_number_id"]
    if phone_number_id in {ACCOUNT_ID, *(n.account_id for n in state.settings.numbers.values())}:
        return _account(state, phone_number_id, request.headers.get("Authorization", ""))
    try:
        authorize(state, phone_number_id, request.headers.get("Authorization", ""))
    except Refused as refused:
        return error_answer(refused, "A" + secrets.token_urlsafe(16))
    number = state.settings.number(phone_number_id)
    return web.json_response(
        {
            "id": phone_number_id,
            "display_phone_number": f"+{number.display_phone_number}",
            "verified_name": "Simulated business",
            "quality_rating": "GREEN",
        }
    )


def _account(state: State, account_id: str, header: str) -> web.Response:
    """Who may see one of its numbers may see it."""
    numbers = [n for n in state.settings.numbers.values() if n.account_id == account_id]
    token = header.partition(" ")[2].strip()
    if numbers or not state.settings.numbers:
        if fits(numbers, token):
            return web.json_response({"id": account_id, "name": "Simulated business"})
        refused = Refused(401, 190, "Error validating access token: Session has expired.")
    else:
        refused = Refused(400, 100, "(#100) Unsupported get request.", kind="GraphMethodException")
    return error_answer(refused, "A" + secrets.token_urlsafe(16))


def fits(numbers: Sequence[Number], token: str) -> bool:
    """A token that belongs to a number is valid; with a number that takes any, every one is."""
    return bool(token) and (not numbers or any(n.token in (None, token) for n in numbers))


async def show_token(request: web.Request) -> web.Response:
    """What a token may do, and for which account."""
    numbers = list(request.app[STATE].settings.numbers.values())
    valid = fits(numbers, request.query.get("input_token", ""))
    scopes = ["whatsapp_business_management", "whatsapp_business_messaging"] if valid else []
    granular = [{"scope": scope, "target_ids": [ACCOUNT_ID]} for scope in scopes]
    data = {"is_valid": valid, "type": "SYSTEM_USER", "expires_at": 0, "scopes": scopes}
    return web.json_response({"data": {**data, "granular_scopes": granular}})


async def show_apps(request: web.Request) -> web.Response:
    """The apps that get the account's webhooks."""
    state = request.app[STATE]
    if request.match_info["account_id"] != ACCOUNT_ID:
        refused = Refused(400, 100, "(#100) Unsupported get request.", kind="GraphMethodException")
        return error_answer(refused, "A" + secrets.token_urlsafe(16))
    app = {"id": "700", "name": "Simulated app", "link": "https://www.facebook.com/games/?app_id=7"}
    found = [{"whatsapp_business_api_data": app}] if state.settings.subscribed else []
    return web.json_response({"data": found})
