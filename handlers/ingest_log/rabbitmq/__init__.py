"""The ingest log on RabbitMQ.

One direct exchange; 16 quorum queues with a single active consumer each carry messages in order
(competing consumers on one queue swap a customer's messages with no fault at all), another one the
statuses (merging needs no order; knowing up to when they are merged does), one more the rest.
Connections are plain ones under our own loop: whatever ends a connection or a channel, the loop
makes all of it again, so nothing can stay silently unsubscribed.
"""

from handlers.ingest_log.rabbitmq.connection import UNREACHABLE
from handlers.ingest_log.rabbitmq.consumer import consume
from handlers.ingest_log.rabbitmq.publisher import Publisher, publishing
from handlers.ingest_log.rabbitmq.topology import prepare

NAME = "rabbitmq"


async def prove(_url: str, _name: str) -> None:
    """Nothing is proved of a broker: entries are confirmed, or not taken."""


__all__ = ["NAME", "UNREACHABLE", "Publisher", "consume", "prepare", "prove", "publishing"]
