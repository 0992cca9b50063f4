"""/healthz, /readyz and /metrics: the same in every process."""

from collections.abc import Callable, Mapping

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from handlers.process import telemetry

Problems = Callable[[], Mapping[str, str]]


def routes(blocking: Problems, degrading: Problems) -> list[web.RouteDef]:
    """`blocking`: what keeps the process from its work now; `degrading`: what only slows it."""

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_: web.Request) -> web.Response:
        reasons = dict(blocking())
        body = {
            "status": "not ready" if reasons else "ready",
            "reasons": reasons,
            "degraded": dict(degrading()),
        }
        return web.json_response(body, status=503 if reasons else 200)

    async def metrics(_: web.Request) -> web.Response:
        telemetry.READY.set(not blocking())
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return [
        web.get("/healthz", healthz),
        web.get("/readyz", readyz),
        web.get("/metrics", metrics),
    ]
