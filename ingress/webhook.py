"""GET and POST /webhooks/whatsapp, and /webhooks/whatsapp/{app} of apps beside the environment's:
Meta's handshake, and signed events made durable."""

import base64
import hmac
import json
import os
import re
import time
from collections import Counter
from datetime import UTC, datetime

import structlog
from aiohttp import web

from handlers.ingest.envelope import Envelope, encode, grouped
from handlers.ingest_log.port import Entry, IngestLog, NotDurable
from handlers.process import telemetry
from handlers.whatsapp.cloud_api.signature import is_signed
from handlers.whatsapp.cloud_api.wire import Update, split
from ingress.apps import App, Apps, NoApp
from ingress.directory import Directory
from ingress.doorkeeper import refused
from ingress.settings import Settings

PATH = "/webhooks/whatsapp"
PATH_OF_APP = PATH + "/{app}"
NESTING_MARGIN = 200  # levels that whoever handles a payload has left, of the 1,000 of Python
NESTING_FREE = 500  # brackets in a body that cannot nest too deep, whatever they hold
_CHALLENGE = re.compile(r"[A-Za-z0-9._-]{1,256}")  # echoed, so nothing that a browser would run

log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Webhook:
    def __init__(
        self, settings: Settings, ingest_log: IngestLog, directory: Directory, apps: Apps
    ) -> None:
        self._log = ingest_log
        self._directory = directory
        self._apps = apps
        self._own = App(None, None, settings.app_secrets, (settings.verify_token,))

    async def verify(self, request: web.Request) -> web.Response:
        app = await self._app_of(request)
        if isinstance(app, NoApp):
            return web.Response(status=app.status, text=app.text)
        query = request.query
        token = query.get("hub.verify_token", "").encode("utf-8", "replace")
        challenge = query.get("hub.challenge", "")
        # All of them are compared, so that the time tells nothing.
        matches = [hmac.compare_digest(token, one.encode()) for one in app.verify_tokens]
        if not any(matches) or query.get("hub.mode") != "subscribe":
            return web.Response(
                status=403, text="hub.mode is not subscribe, or hub.verify_token is another one"
            )
        if not _CHALLENGE.fullmatch(challenge):
            return web.Response(status=400, text="hub.challenge is missing or malformed")
        return web.Response(text=challenge)

    async def receive(self, request: web.Request, body: bytes) -> web.Response:
        """200 only when every update of the POST is durable; what we do not understand is kept
        like the rest, because Meta would repeat it for seven days."""
        started = time.monotonic()
        app = await self._app_of(request)
        if isinstance(app, NoApp):
            return refused(request, app.status, app.reason, app.text)
        if not is_signed(body, request.headers.get("X-Hub-Signature-256"), app.secrets):
            telemetry.WEBHOOKS.labels("401").inc()
            log.warning("webhook.refused", reason="signature", bytes=len(body))
            return web.Response(
                status=401,
                text="X-Hub-Signature-256 is missing or was not made with this app's secret",
            )
        updates = taken_apart(body)
        trace_id = os.urandom(16).hex()
        numbers = {u.phone_number_id: u.display_number for u in updates if u.phone_number_id}
        tenants = await self._directory.tenants(numbers)
        received_at = datetime.now(UTC).isoformat()
        entries = [
            Entry(lane, encode(Envelope(trace_id, received_at, tuple(group), tenants, app.id)))
            for lane, group in grouped(updates).items()
        ]
        published = time.monotonic()
        reason = await self._publish(entries)
        confirm_s = time.monotonic() - published
        kinds = Counter(update.kind for update in updates)
        telemetry.PUBLISH_SECONDS.observe(confirm_s)
        if not reason:
            for kind, count in kinds.items():
                telemetry.UPDATES.labels(kind).inc(count)
        log.info(
            "webhook.received",
            trace_id=trace_id,
            app=app.name,
            status=503 if reason else 200,
            reason=reason,
            bytes=len(body),
            updates=dict(kinds),
            entries=len(entries),
            tenants=sorted(set(tenants.values())),
            confirm_ms=round(confirm_s * 1000, 1),
            duration_ms=round((time.monotonic() - started) * 1000, 1),
        )
        return _answer(reason)

    async def _app_of(self, request: web.Request) -> App | NoApp:
        """Whose path it is. The environment's costs nothing."""
        name = request.match_info.get("app")
        if name is None:
            return self._own
        return await self._apps.named(name)

    async def _publish(self, entries: list[Entry]) -> str | None:
        """Why they are not durable; None: they are."""
        try:
            await self._log.publish(entries)
        except NotDurable as error:
            return str(error)
        return None


def _answer(reason: str | None) -> web.Response:
    telemetry.WEBHOOKS.labels("503" if reason else "200").inc()
    if reason:
        return web.Response(
            status=503, text=f"not durable now: {reason}", headers={"Retry-After": "1"}
        )
    return web.Response(text="durable")


def taken_apart(body: bytes) -> list[Update]:
    """The updates of a signed body. What is no WhatsApp object is one update that nobody will
    understand: kept and counted."""
    try:
        payload = json.loads(body)
        if body.count(b"{") + body.count(b"[") > NESTING_FREE:
            # Nesting that those who come later could not write is no webhook either.
            nested = payload
            for _ in range(NESTING_MARGIN):
                nested = [nested]
            json.dumps(nested)
    except (ValueError, RecursionError):
        opaque = {"base64": base64.b64encode(body).decode()}
        return [Update("other", "not_json", None, None, opaque, None)]
    if not isinstance(payload, dict) or payload.get("object") != "whatsapp_business_account":
        return [Update("other", "not_whatsapp", None, None, payload, None)]
    return split(payload)
