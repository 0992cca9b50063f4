"""How many tokens a model's server counts for one of our estimate, by chatbot: each has its own
languages and its own rows. Only upwards: a prompt that is shorter than it might be is answered, one
that is too long is not, and the next message may be in another script."""

from collections import OrderedDict
from dataclasses import dataclass, field

CHATBOTS_MAX = 10_000  # in memory
SCALE_MAX = 4.0
FEW_TOKENS = 200  # of a shorter prompt the frame around it would be taken for its text


@dataclass(frozen=True, slots=True)
class Gauge:
    _scales: OrderedDict[int, float] = field(default_factory=OrderedDict)

    def scale(self, chatbot_id: int) -> float:
        return self._scales.get(chatbot_id, 1.0)

    def note(self, chatbot_id: int, estimated: int, counted: int) -> None:
        if estimated < FEW_TOKENS or counted <= 0:
            return
        self._scales[chatbot_id] = min(max(1.0, counted / estimated), SCALE_MAX)
        self._scales.move_to_end(chatbot_id)
        if len(self._scales) > CHATBOTS_MAX:
            self._scales.popitem(last=False)
