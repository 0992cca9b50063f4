"""The token with which a chatbot's number calls the Graph API."""

from dataclasses import dataclass

import structlog

from db.ids import ChatbotId
from handlers.process.secrets import Undecryptable, Vault, access_token_of

log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Tokens:
    vault: Vault
    shared: str | None  # for chatbots without their own

    def of(self, chatbot_id: ChatbotId, stored: str | None) -> str | None:
        """`stored` is chatbots.access_token. None: there is none that can be used."""
        if stored is None:
            return self.shared
        try:
            return self.vault.decrypt(stored, access_token_of(chatbot_id))
        except Undecryptable as error:
            log.error("credential.undecryptable", chatbot_id=chatbot_id, reason=str(error))
            return None
