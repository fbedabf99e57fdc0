"""What is remembered of earlier files never shows: a file gives the same, whatever was read before it."""

from __future__ import annotations

import itertools
import struct
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from service.dicom import index, remembered, tree
from service.dicom.charset import character_set
from service.dicom.extract import Extraction, extract
from service.dicom.limits import Limits
from service.dicom.remembered import LONGEST_VALUE, MAX_BYTES, MAX_TABLES, Entry, Remembered
from service.errors import ServiceError

WHEEL = sorted(Path(pydicom.__file__).parent.joinpath("data", "test_files").rglob("*.dcm"))


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Remembered]:
    """A memory of this test's own, empty."""
    own = Remembered()
    for module in (remembered, tree, index):
        monkeypatch.setattr(module, "REMEMBERED", own)
    yield own


def read(content: bytes) -> Any:
    """All that a file gives, in its order."""
    try:
        found: Extraction = extract(content, Limits())
    except ServiceError as error:
        return type(error)
    return [
        repr(list(part.items())) if isinstance(part, dict) else repr(part)
        for part in (found.dataset, found.index, found.series, found.identifiers, found.warnings, found.problems)
    ]


def write(dataset: Dataset) -> bytes:
    written = BytesIO()
    dataset.save_as(written, implicit_vr=False, little_endian=True)
    return written.getvalue()


def make(**elements: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def test_a_file_gives_the_same_whatever_was_read_before_it(memory: Remembered) -> None:
    contents = [path.read_bytes() for path in WHEEL if path.stat().st_size < 1_000_000]
    cold = []
    for content in contents:
        memory.forget()
        cold.append(read(content))
    assert len(cold) > 70
    for _ in range(2):
        assert [read(content) for content in contents] == cold
    assert memory.held_bytes > 0


@pytest.mark.parametrize("size", [0, 5_000, 50_000])
def test_a_memory_that_is_full_in_the_middle_of_a_file_changes_nothing(
    memory: Remembered, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    content = Path(str(get_testdata_file("CT_small.dcm", download=False))).read_bytes()
    expected = read(content)
    memory.forget()
    monkeypatch.setattr(memory, "_max_bytes", size)
    for _ in range(3):
        assert read(content) == expected
        assert memory.held_bytes <= size


@pytest.mark.usefixtures("memory")
def test_the_same_bytes_in_another_character_set_are_another_text() -> None:
    latin, greek = (
        extract(write(make(SpecificCharacterSet=name, PatientComments=text)), Limits())
        for name, text in (("ISO_IR 100", "\xe1"), ("ISO_IR 126", "\u03b1"))
    )
    assert latin.dataset["PatientComments"]["Value"] == ["\xe1"]
    assert greek.dataset["PatientComments"]["Value"] == ["\u03b1"]
    assert greek.index["tags"]["PatientComments"] == ["\u03b1"]


@pytest.mark.usefixtures("memory")
def test_the_same_bytes_under_another_vr_or_tag_are_another_element() -> None:
    first = extract(write(make(SliceThickness="5", InstanceNumber="5", StudyDescription="5", StudyID="5")), Limits())
    second = extract(write(make(StudyDescription="5", SliceThickness="5", SeriesNumber="5", StudyID="5")), Limits())
    assert first.index["tags"] | {"SeriesNumber": [5]} == second.index["tags"] | {"InstanceNumber": [5]}
    assert [second.dataset[key]["vr"] for key in ("SliceThickness", "SeriesNumber", "StudyDescription", "StudyID")] == [
        *("DS", "IS", "LO", "SH")
    ]


def private(*blocks: tuple[int, str, str]) -> bytes:
    dataset = make(Modality="CT")
    for block, creator, value in blocks:
        dataset.add_new(0x00090000 + block, "LO", creator)
        dataset.add_new(0x00090001 + (block << 8), "LO", value)
    return write(dataset)


@pytest.mark.usefixtures("memory")
def test_the_same_element_of_another_creator_has_another_path() -> None:
    paths = [
        [path for path in extract(private((0x10, creator, "x")), Limits()).index["tags"] if ":" in path]
        for creator in ("ACME", "OTHER", "ACME")
    ]
    assert paths == [["ACME:0009xx01"], ["OTHER:0009xx01"], ["ACME:0009xx01"]]


@pytest.mark.parametrize(
    "before", [[], [(0x10, "ACME", "x")], [(0x11, "ACME", "y")], [(0x10, "ACME", "x"), (0x11, "ACME", "y")]]
)
@pytest.mark.usefixtures("memory")
def test_two_blocks_of_one_creator_stand_under_one_path(before: list[tuple[int, str, str]]) -> None:
    if before:
        extract(private(*before), Limits())
    for _ in range(2):
        found = extract(private((0x10, "ACME", "x"), (0x11, "ACME", "y")), Limits())
        assert found.index["tags"]["ACME:0009xx01"] == ["x", "y"]


@pytest.mark.usefixtures("memory")
def test_a_value_that_cannot_be_converted_is_told_of_each_time() -> None:
    dataset = make(Modality="CT")
    dataset.add_new(0x00200013, "SH", "no number")
    content = write(dataset).replace(b"SH\x0a\x00no number ", b"IS\x0a\x00no number ")
    problems = [extract(content, Limits()).problems for _ in range(3)]
    assert problems[0] > 0
    assert len(set(problems)) == 1


def test_long_values_are_not_remembered(memory: Remembered) -> None:
    extract(write(make(PatientComments="x" * (LONGEST_VALUE - 2), AdditionalPatientHistory="y" * 100)), Limits())
    values = memory.values(character_set(()), True)
    assert [len(data) for data in values["LT"]] == [LONGEST_VALUE - 2]


def many(first: bytes, rest: Iterable[bytes]) -> bytes:
    return b"\\".join([first, *rest])[:LONGEST_VALUE]


COSTLY: dict[str, tuple[str, Callable[[int], bytes]]] = {
    "text of many values": ("LO", lambda number: many(b"%x" % number, (b"%02x" % each for each in range(21)))),
    "numbers": ("DS", lambda number: many(b"%d" % number, (b"%d" % each for each in range(10, 40)))),
    "small numbers": ("US", lambda number: struct.pack("<L30H", number, *range(1000, 1030))),
    "a name": ("PN", lambda number: b"%x^" % number + b" ".join(b"%02x" % each for each in range(18))),
    "short text": ("LO", lambda number: b"%x" % number),
    "bytes": ("OB", lambda number: number.to_bytes(4, "little") + bytes(60)),
}


@pytest.mark.parametrize("name", COSTLY)
def test_what_is_remembered_takes_no_more_memory_than_is_counted(name: str) -> None:
    vr, make_data = COSTLY[name]
    contents = (make_data(number) for number in itertools.count(100_000))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        memory = Remembered(2 << 20)
        values = memory.values(character_set(()), True)[vr]
        most = 0
        for number, data in enumerate(itertools.islice(contents, 20_000)):
            element = values[data]
            listed = [str(value) if vr == "PN" else value for value in element.get("Value", ())]
            words = tuple(data.decode("latin-1").split()) if vr == "PN" else None
            memory.keep_entry("Key", Entry(element, None, f"Key{number}", None, listed, words, cut=False))
            assert memory.held_bytes <= 2 << 20
            if number % 100 == 0:
                most = max(most, tracemalloc.get_traced_memory()[0] - before)
    finally:
        tracemalloc.stop()
    assert (1 << 18) < most <= 2 << 20


def test_no_more_character_sets_are_remembered_than_may(memory: Remembered) -> None:
    for number in range(3 * MAX_TABLES):
        memory.values(character_set((f"NOBODY {number}",)), True)["LO"][b"x"]
    assert len(memory._tables) <= MAX_TABLES
    assert memory.held_bytes < MAX_BYTES


def test_a_file_that_is_extracted_apart_gives_the_same_and_neither_uses_nor_leaves_anything(
    memory: Remembered, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = Path(str(get_testdata_file("CT_small.dcm", download=False))).read_bytes()

    def refuse(*_: Any) -> None:
        raise AssertionError("the memory of the process was used")

    with monkeypatch.context() as patch:
        for name in ("values", "keep_value", "recall", "keep_entry"):
            patch.setattr(memory, name, refuse)
        apart = [
            repr(each) for each in (extract(content, Limits(), apart=True), extract(content, Limits(), apart=True))
        ]
    assert memory.held_bytes == 0
    shared = [repr(each) for each in (extract(content, Limits()), extract(content, Limits()))]
    assert memory.held_bytes > 0
    assert {*apart, *shared} == {shared[0]}
