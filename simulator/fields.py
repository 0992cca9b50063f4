"""Reading JSON that people wrote: every problem is named, not only the first."""

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
D = TypeVar("D")

MAX_MS = 86_400_000  # a day; a longer wait is a typing error


class Malformed(Exception):
    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class Unfit(Exception):
    """Why one value cannot be taken; Fields adds where it stood."""


class Fields:
    """One JSON object, read key by key."""

    def __init__(self, where: str, value: object) -> None:
        self._where = where
        self._problems: list[str] = []
        self._values: dict[str, object] = {}
        self._unread: set[str] = set()
        self._is_object = isinstance(value, dict)
        if isinstance(value, dict):
            self._values = value
            self._unread = set(value)
        else:
            self._problems.append(f"{where}: must be an object")

    def has(self, name: str) -> bool:
        return name in self._values

    def take(self, name: str, read: Callable[[object], T], default: D) -> T | D:
        """The value of an optional key; null counts as absent where the default is None."""
        self._unread.discard(name)
        if name not in self._values or (self._values[name] is None and default is None):
            return default
        try:
            return read(self._values[name])
        except Malformed as nested:
            self._problems.extend(f"{self._where}.{problem}" for problem in nested.problems)
        except Unfit as error:
            self._problems.append(f"{self._where}.{name}: {error}")
        return default

    def need(self, name: str, read: Callable[[object], T], blank: T) -> T:
        """The value of a required key; `blank` only stands in until `done` refuses the object."""
        if name not in self._values and self._is_object:
            self._problems.append(f"{self._where}.{name}: is required")
        return self.take(name, read, blank)

    def times(self, default: int | None) -> int | None:
        """How often something serves; null means without end."""
        return self.take("times", repeats, None) if self.has("times") else default

    def complain(self, problem: str) -> None:
        self._problems.append(f"{self._where}: {problem}")

    def done(self) -> None:
        unknown = [f"{self._where}.{name}: is not a known key" for name in sorted(self._unread)]
        if self._problems or unknown:
            raise Malformed([*self._problems, *unknown])


def read_list(where: str, value: object, read: Callable[[str, object], T]) -> list[T]:
    if not isinstance(value, list):
        raise Malformed([f"{where}: must be a list"])
    items: list[T] = []
    problems: list[str] = []
    for position, item in enumerate(value):
        try:
            items.append(read(f"{where}[{position}]", item))
        except Malformed as nested:
            problems.extend(nested.problems)
    if problems:
        raise Malformed(problems)
    return items


def text(value: object) -> str:
    if not isinstance(value, str):
        raise Unfit("must be a string")
    return value


def filled(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise Unfit("must be a string that is not empty")
    return value


def flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise Unfit("must be true or false")
    return value


def whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise Unfit("must be a whole number")
    return value


def milliseconds(value: object) -> int:
    if not 0 <= (number := whole(value)) <= MAX_MS:
        raise Unfit(f"must be between 0 and {MAX_MS} milliseconds")
    return number


def repeats(value: object) -> int:
    if (number := whole(value)) < 1:
        raise Unfit("must be at least 1")
    return number


def http_status(value: object) -> int:
    if not 200 <= (number := whole(value)) <= 599:
        raise Unfit("must be an HTTP status between 200 and 599")
    return number


def regex(value: object) -> re.Pattern[str]:
    try:
        return re.compile(text(value), re.DOTALL)
    except re.error as error:
        raise Unfit(f"is not a regular expression ({error})") from error


def texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Unfit("must be a list of strings")
    return tuple(value)


def headers(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise Unfit("must be an object of strings")
    return value


def digits(value: object) -> str:
    """A phone number in any spelling, as its digits."""
    number = re.sub(r"[\s()+-]", "", text(value))
    if not re.fullmatch(r"[0-9]{5,20}", number):
        raise Unfit("must be a phone number")
    return number
