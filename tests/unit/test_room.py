"""Places that tenants share: half of them at most, and in turn."""

import asyncio

import pytest

from handlers.media.room import Room


class Watched:
    """Who is in, in the order in which they came in; each stays until it is told to go."""

    def __init__(self, places: int) -> None:
        self.room = Room(places)
        self.came: list[str] = []
        self.stays: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def wants(self, *names: str) -> None:
        for name in names:
            self.stays[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._be(name))
        await self.settle()

    async def _be(self, name: str) -> None:
        async with self.room.place(ord(name[0])):
            self.came.append(name)
            await self.stays[name].wait()

    async def goes(self, name: str) -> None:
        self.stays[name].set()
        await self.tasks[name]
        await self.settle()

    async def gives_up(self, name: str) -> None:
        self.tasks[name].cancel()
        await asyncio.wait({self.tasks[name]})
        await self.settle()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def end(self) -> None:
        for name in list(self.stays):
            self.stays[name].set()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)


async def test_a_tenant_has_half_and_another_the_rest() -> None:
    room = Watched(2)
    await room.wants("a1", "a2", "a3", "b1")
    assert room.came == ["a1", "b1"]
    await room.wants("c1")
    await room.goes("a1")
    assert room.came == ["a1", "b1", "a2"], "who waited longest"
    await room.goes("a2")
    assert room.came == ["a1", "b1", "a2", "c1"], "and then the other tenant"
    await room.end()
    assert sorted(room.came) == ["a1", "a2", "a3", "b1", "c1"]


async def test_one_place_is_everybodys_in_turn() -> None:
    room = Watched(1)
    await room.wants("a1", "a2", "a3", "b1", "b2")
    for _ in range(4):
        await room.goes(room.came[-1])
    assert room.came == ["a1", "a2", "b1", "a3", "b2"]
    await room.end()


@pytest.mark.parametrize("waits", [True, False])
async def test_who_gives_up_leaves_no_hole(waits: bool) -> None:
    room = Watched(2)
    await room.wants("a1", "a2", "b1", "b2")
    await room.gives_up("a2" if waits else "a1")
    await room.goes("b1")
    if waits:
        await room.goes("a1")
    await room.wants("c1")
    expected = ["a1", "b1", "b2", "c1"] if waits else ["a1", "b1", "a2", "b2"]
    assert room.came == expected
    await room.end()
    await room.wants("d1", "e1")
    assert room.came[-2:] == ["d1", "e1"], "all places are there"
    await room.end()


async def test_who_is_let_in_and_gives_up_at_the_same_moment_gives_it_on() -> None:
    room = Watched(1)
    async with room.room.place(ord("a")):
        await room.wants("b1", "c1")
    room.tasks["b1"].cancel()  # its place was given, and it has not gone on yet
    await room.settle()
    assert room.came == ["c1"]
    await room.end()
