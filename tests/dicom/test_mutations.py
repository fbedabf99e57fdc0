"""Broken files, made at random from a seed: each is read or refused, in bounded time and memory, and never a crash."""

from __future__ import annotations

import contextlib
import resource
import time

import bson
import orjson
import pytest

from service.dicom.dictionary import tag_of_key
from service.dicom.extract import extract, extract_packed, unpack
from service.dicom.limits import Limits, OverBudget
from service.dicom.simplified import simplify_dataset
from service.errors import LimitExceeded, NotDicom
from tests.dicom.mutations import mutated
from tests.dicom.written import explicit, item, part10, plain

MAX_SECONDS = 20
MAX_BYTES = 1 << 30


def check(data: bytes) -> bool:
    """Extract, and use everything that came out; give whether it was read."""
    started = time.process_time()
    try:
        extraction = extract(data, Limits())
    except (NotDicom, LimitExceeded):
        return False
    finally:
        assert time.process_time() - started < MAX_SECONDS
    packed = unpack(extract_packed(data, Limits()))
    assert packed.identifiers == extraction.identifiers
    assert len(bson.encode(extraction.dataset)) < 16_000_000
    for key, element in extraction.dataset.items():
        assert f"{tag_of_key(key):08X}"
        assert len(element["vr"]) == 2
    orjson.dumps(simplify_dataset(extraction.dataset))
    return True


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _run(seeds: range) -> None:
    before = _memory()
    read = sum(check(mutated(seed)) for seed in seeds)
    assert read > len(seeds) // 2, "most broken files still have something to read"
    assert _memory() - before < MAX_BYTES


def test_three_hundred_broken_files_are_read_or_refused() -> None:
    _run(range(300))


@pytest.mark.long
def test_two_thousand_broken_files_are_read_or_refused() -> None:
    _run(range(1000, 3000))


@pytest.mark.parametrize("seed", range(40))
def test_a_broken_file_is_read_the_same_under_a_budget_or_left_to_a_worker(seed: int) -> None:
    data = mutated(seed)
    try:
        expected = extract(data, Limits())
    except (NotDicom, LimitExceeded) as error:
        with pytest.raises((type(error), OverBudget)):
            extract(data, Limits(max_elements=5000))
        return
    try:
        found = extract(data, Limits(max_elements=5000))
    except OverBudget:
        return
    assert bson.encode(found.dataset) == bson.encode(expected.dataset)


@pytest.mark.parametrize(
    ("content", "count"),
    [
        pytest.param(explicit(0x00091010, "LO"), 1_000_000, id="empty elements"),
        pytest.param(item(b""), 1_000_000, id="empty items"),
        pytest.param(b"\xfe\xff\x0d\xe0\0\0\0\0", 1_000_000, id="delimiters"),
        pytest.param(
            explicit(0x00081140, "SQ", b"\xfe\xff\xdd\xe0\0\0\0\0", 0xFFFFFFFF), 400_000, id="empty sequences"
        ),
        pytest.param(explicit(0x7FE00010, "OB", b"\xfe\xff\xdd\xe0\0\0\0\0", 0xFFFFFFFF), 400_000, id="empty pixels"),
        pytest.param(explicit(0x00081115, "UT", b"", 0xFFFFFFFF), 400_000, id="undefined text"),
        pytest.param(explicit(0x00080018, "zz", b"1"), 400_000, id="unknown VRs"),
        pytest.param(explicit(0x00080018, "LO", b"", 0xFFF0), 400_000, id="lengths that do not fit"),
    ],
)
def test_a_flood_takes_time_in_proportion_to_its_bytes(content: bytes, count: int) -> None:
    data = part10(plain() + content * count)
    started = time.process_time()
    with contextlib.suppress(LimitExceeded):
        extract(data, Limits())
    assert time.process_time() - started < MAX_SECONDS
