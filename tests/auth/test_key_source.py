"""The keys of a running service: renewed in the background, once for many who ask, and given up when too old."""

import asyncio
import contextlib
import logging

import pytest

from service.auth.jwks import SetUnavailable
from service.auth.key_source import MAX_WAITING, KeySource, Times, published_keys
from service.auth.keys import UnusableKeys
from service.auth.tokens import Authenticator
from service.errors import KeysUnavailable, Unauthorized
from tests.auth.issuer import SigningKey, as_set

SIGNED_BY_NOBODY = SigningKey("ES256", "nobody's")
QUICK = Times(refresh=60, keep=600, pace=0.05, retry=60)


class Desk:
    """Where the set is had in these tests: what it says, or why it says nothing."""

    def __init__(self, *keys):
        self.text = as_set(*keys)
        self.asked = 0
        self.error = None
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self):
        self.asked += 1
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return self.text


@contextlib.asynccontextmanager
async def running(desk, times=QUICK, **options):
    source = KeySource(desk, times, **options)
    life = source.kept()
    await anext(life)
    try:
        yield source
    finally:
        assert await anext(life, None) is None


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


async def until(condition, seconds=5):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for here has no event
            await asyncio.sleep(0.005)


@pytest.fixture(scope="module")
def keys():
    return [SigningKey("ES256", kid) for kid in "abc"]


async def test_the_set_is_there_before_the_first_request(keys):
    async with running(Desk(keys[0])) as source:
        assert [key.kid for key in source.current().keys] == ["a"]
        assert (source.fetches, source.failures) == (1, 0)
        assert source.age() < 5


async def test_a_token_of_a_key_that_is_new_is_let_in_at_once(keys):
    desk = Desk(keys[0])
    async with running(desk) as source:
        door = Authenticator(source)
        desk.text = as_set(*keys[:2])
        with pytest.raises(Unauthorized):
            door.verify(keys[1].sign(), "p-1")
        assert (await door.admit(keys[1].sign(), "p-1")).patient_id == "p-1"
        assert desk.asked == 2


async def test_a_removed_key_stops_working_also_for_tokens_that_were_verified_before(keys):
    desk = Desk(*keys[:2])
    async with running(desk, Times(refresh=0.05, keep=60, pace=0.05, retry=0.05)) as source:
        door = Authenticator(source)
        token = keys[0].sign()
        assert await door.admit(token, "p-1")
        desk.text = as_set(keys[1])
        await until(lambda: len(source.current().keys) == 1)
        with pytest.raises(Unauthorized):
            await door.admit(token, "p-1")
        assert await door.admit(keys[1].sign(), "p-1")


async def test_many_tokens_of_keys_that_nobody_knows_cause_one_fetch_at_a_time_and_keep_the_pace(keys):
    desk = Desk(keys[0])
    async with running(desk, Times(refresh=60, keep=600, pace=0.3, retry=60)) as source:
        door = Authenticator(source)
        loop = asyncio.get_running_loop()
        begun, outcomes = loop.time(), []

        async def attack(number):
            while loop.time() - begun < 0.8:
                with pytest.raises(Unauthorized) as refusal:
                    await door.admit(SIGNED_BY_NOBODY.sign(headers={"kid": f"x{number}-{loop.time()}"}), "p-1")
                outcomes.append(refusal.type)

        await asyncio.gather(*(attack(number) for number in range(50)))
        assert desk.asked <= 1 + (loop.time() - begun) / 0.3 + 1
        assert len(outcomes) >= 50


async def test_who_asks_while_a_fetch_is_under_way_waits_for_the_next_one(keys):
    """The set that is on its way may be from before the key was published."""
    desk = Desk(keys[0])
    async with running(desk) as source:
        desk.open.clear()
        first = asyncio.create_task(source.renew())
        await until(lambda: desk.asked == 2)
        second = asyncio.create_task(source.renew())
        await asyncio.sleep(0.02)
        desk.open.set()
        await first
        assert not second.done()
        desk.text = as_set(*keys)
        await second
        assert desk.asked == 3
        assert len(source.current().keys) == 3


async def test_requests_with_a_known_key_never_wait(keys):
    desk = Desk(keys[0])
    async with running(desk) as source:
        door = Authenticator(source)
        desk.open.clear()
        waiting = asyncio.create_task(door.admit(keys[1].sign(), "p-1"))
        await until(lambda: desk.asked == 2)
        async with asyncio.timeout(20):  # the desk stays closed
            for _ in range(20):
                assert await door.admit(keys[0].sign(), "p-1")
        desk.open.set()
        with pytest.raises(Unauthorized):
            await waiting


async def test_more_than_can_wait_are_sent_away_to_come_again(keys):
    desk = Desk(keys[0])
    async with running(desk) as source:
        desk.open.clear()
        waiting = [asyncio.create_task(source.renew()) for _ in range(MAX_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(KeysUnavailable) as refusal:
            await source.renew()
        assert refusal.value.retry_after >= 1
        waiting[0].cancel()  # a caller that went away makes room, and takes nothing from the others
        await asyncio.sleep(0)
        late = asyncio.create_task(source.renew())
        await asyncio.sleep(0)
        desk.open.set()
        await asyncio.gather(*waiting[1:], late)


# --- the issuer is out ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [SetUnavailable("it answered 502"), RuntimeError("surprise"), None])
async def test_the_last_good_set_is_used_for_its_time_and_no_longer(keys, error, caplog):
    clock, desk = Clock(), Desk(keys[0])
    caplog.set_level(logging.INFO)
    async with running(desk, Times(refresh=0.03, keep=3600, pace=0.03, retry=0.03), clock=clock) as source:
        door, token = Authenticator(source), keys[0].sign()
        good, desk.text, desk.error = desk.text, b"<html>", error
        await until(lambda: source.failures >= 2)
        clock.now += 3590
        assert await door.admit(token, "p-1")
        assert source.age() == pytest.approx(3590)
        clock.now += 20
        with pytest.raises(KeysUnavailable):
            await door.admit(token, "p-1")
        failures = source.failures
        await until(lambda: source.failures > failures + 1)
        desk.text, desk.error = good, None
        await until(lambda: source.age() == 0)
        assert await door.admit(token, "p-1")
    told = [record.message for record in caplog.records if record.name == "service.auth.key_source"]
    assert sum("cannot be had" in message for message in told) == 1
    assert sum("no longer used" in message for message in told) == 1
    assert sum("can be had again" in message for message in told) == 1
    assert "surprise" not in caplog.text


async def test_without_an_issuer_a_service_starts_and_has_keys_when_it_has(keys):
    desk = Desk(keys[0])
    desk.error = SetUnavailable("it could not be reached")
    async with running(desk, Times(refresh=60, keep=600, pace=0.02, retry=0.05)) as source:
        door = Authenticator(source)
        for check in (door.check_keys, source.current):
            with pytest.raises(KeysUnavailable):
                check()
        with pytest.raises(KeysUnavailable):
            await door.admit(keys[0].sign(), "p-1")
        assert source.age() == float("inf")
        desk.error = None
        await until(lambda: source.age() < 5)
        assert await door.admit(keys[0].sign(), "p-1")


async def test_a_new_key_that_cannot_be_looked_for_is_neither_known_nor_unknown(keys):
    desk = Desk(keys[0])
    async with running(desk) as source:
        desk.error = SetUnavailable("it answered 500")
        with pytest.raises(KeysUnavailable):
            await Authenticator(source).admit(keys[1].sign(), "p-1")
        assert await Authenticator(source).admit(keys[0].sign(), "p-1")


async def test_a_stop_leaves_nobody_waiting(keys):
    desk = Desk(keys[0])
    source = KeySource(desk, QUICK)
    life = source.kept()
    await anext(life)
    desk.open.clear()
    under_way = asyncio.create_task(source.renew())
    await until(lambda: desk.asked == 2)
    waiting = asyncio.create_task(source.renew())
    await asyncio.sleep(0)
    await anext(life, None)
    with pytest.raises(KeysUnavailable):
        await under_way
    with pytest.raises((KeysUnavailable, asyncio.CancelledError)):
        await waiting
    with pytest.raises(KeysUnavailable):
        await source.renew()


# --- files ---------------------------------------------------------------------------------------------------------


async def test_a_file_is_read_again_when_it_changes_also_within_one_tick_of_its_clock(keys, tmp_path, monkeypatch):
    monkeypatch.setattr("service.auth.key_source.FILE_SECONDS", 0.03)
    path = tmp_path / "keys.json"
    path.write_bytes(as_set(keys[0]))
    source = published_keys(str(path), 300, 3600)
    life = source.kept()
    await anext(life)
    path.write_bytes(as_set(keys[1]))
    await until(lambda: source.current().keys[0].kid == "b")
    path.write_bytes(b'{"keys": [')  # half of it, as an editor leaves it for a moment
    await until(lambda: source.failures > 0)
    assert source.current().keys[0].kid == "b"
    path.unlink()
    (tmp_path / "new.json").write_bytes(as_set(keys[2]))
    (tmp_path / "new.json").rename(path)
    await until(lambda: source.current().keys[0].kid == "c")
    await anext(life, None)


@pytest.mark.parametrize(
    "content", [None, b"", b"{}", b'{"keys": []}', b"-----BEGIN PUBLIC KEY-----", b" " * (1 << 21)]
)
def test_a_file_that_cannot_be_used_at_the_start_is_refused(tmp_path, content):
    path = tmp_path / "keys.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises((SetUnavailable, UnusableKeys)):
        published_keys(str(path), 300, 3600)
    with pytest.raises(SetUnavailable):
        published_keys(str(tmp_path), 300, 3600)
