"""The server that plays Meta, the model and a tenant's endpoint."""

from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

from simulator import (
    control,
    embeddings,
    endpoint,
    endpoint_control,
    graph_account,
    graph_api,
    graph_media,
    graph_templates,
    graph_uploads,
    model,
    transcription,
)
from simulator.state import HTTP, STATE, State

MAX_BODY_BYTES = 40 * 1024 * 1024  # a raw webhook or a file of several MiB, wrapped in JSON
WEBHOOK_CONNECT_S = 5.0
WEBHOOK_READ_S = 10.0
WEBHOOK_CONNECTIONS = 200  # Meta delivers concurrently

GRAPH_NUMBER = r"/{version:v\d+\.\d+}/{phone_number_id}"
GRAPH_TEMPLATES = r"/{version:v\d+\.\d+}/{account_id}/message_templates"


def create_app() -> web.Application:
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[control.name_problems])
    app[STATE] = State()
    app.cleanup_ctx.append(_outgoing)
    app.on_shutdown.append(_wake_sleepers)
    app.add_routes(
        [
            web.post(f"{GRAPH_NUMBER}/messages", graph_api.send_message),
            web.post(f"{GRAPH_NUMBER}/media", graph_uploads.upload),
            web.post(f"{GRAPH_NUMBER}/marketing_messages", graph_api.send_message),
            web.get(GRAPH_TEMPLATES, graph_templates.show_all),
            web.post(GRAPH_TEMPLATES, graph_templates.make),
            web.delete(GRAPH_TEMPLATES, graph_templates.delete),
            web.post(GRAPH_NUMBER, graph_templates.edit),
            # Before the number, whose address would fit it too.
            web.get(r"/{version:v\d+\.\d+}/debug_token", graph_account.show_token),
            web.get(r"/{version:v\d+\.\d+}/{account_id}/subscribed_apps", graph_account.show_apps),
            web.get(GRAPH_NUMBER, _show),
            web.get("/_media/{media_id}", graph_media.give),
            web.post("/v1/chat/completions", model.complete),
            web.get("/v1/models", model.list_models),
            web.post("/v1/embeddings", embeddings.embed),
            web.post("/v1/audio/transcriptions", transcription.transcribe),
            web.route("*", "/tenant/{name}", endpoint.receive),  # a redirect is followed by GET
            web.get("/_sim/config", control.show_config),
            web.post("/_sim/config", control.configure),
            web.post("/_sim/model/rules", control.set_rules),
            web.post("/_sim/graph/faults", control.add_faults),
            web.post("/_sim/graph/upload_faults", control.add_upload_faults),
            web.delete("/_sim/uploads", graph_uploads.forget),
            web.get("/_sim/tenant/{name}", endpoint_control.show),
            web.post("/_sim/tenant/{name}", endpoint_control.configure),
            web.delete("/_sim/tenant/{name}", endpoint_control.forget),
            web.get("/_sim/tenant/{name}/deliveries", endpoint_control.show_deliveries),
            web.get("/_sim/tenant/{name}/events", endpoint_control.show_events),
            web.post("/_sim/media", graph_media.keep),
            web.get("/_sim/media/{media_id}", graph_media.show),
            web.post("/_sim/templates", graph_templates.act),
            web.post("/_sim/messages", control.say),
            web.post("/_sim/updates", control.do),
            web.post("/_sim/raw", control.post_raw),
            web.get("/_sim/log", control.show_log),
            web.delete("/_sim/log", control.forget),
            web.get("/_sim/chat", control.show_chat),
        ]
    )
    return app


async def _show(request: web.Request) -> web.Response:
    """A number or a medium: both are an id."""
    medium = request.app[STATE].media.find(request.match_info["phone_number_id"])
    if medium is not None:
        return graph_media.describe(request, medium)
    if request.match_info["phone_number_id"] in request.app[STATE].templates.kept:
        return await graph_templates.show(request)
    return await graph_account.show_number(request)


async def _outgoing(app: web.Application) -> AsyncIterator[None]:
    timeout = aiohttp.ClientTimeout(
        total=None, sock_connect=WEBHOOK_CONNECT_S, sock_read=WEBHOOK_READ_S
    )
    connector = aiohttp.TCPConnector(limit=WEBHOOK_CONNECTIONS)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as http:
        app[HTTP] = http
        yield
        await app[STATE].close()


async def _wake_sleepers(app: web.Application) -> None:
    app[STATE].wake_sleepers()
