"""pywa's own FastAPI server, which checks the signature, parses, and keeps nothing durable:
`python -m bench.floors.pywa_server PORT`; SECRET."""

import os
import sys

import fastapi
import uvicorn
from pywa_async import WhatsApp, types

app = fastapi.FastAPI()
whatsapp = WhatsApp(
    phone_id="4098712345",
    token="none",  # noqa: S106 - it sends nothing
    server=app,
    webhook_endpoint="/webhooks/whatsapp",
    verify_token="bench",  # noqa: S106
    app_secret=os.environ["SECRET"],
)


@whatsapp.on_message
async def receive(_: WhatsApp, message: types.Message) -> None:
    del message


@app.get("/readyz")
async def ready() -> str:
    return "ready"


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
