"""Strange files are read: everything in them is there, and what was strange is said."""

from __future__ import annotations

import gzip
import io
import json
import mmap
import random
import struct
import zipfile
import zlib
from pathlib import Path

import pytest
from PIL import Image

from service.dicom.extract import Extraction, begins_like_dicom, extract, read_tree
from service.dicom.limits import Limits, OverBudget
from service.errors import LimitExceeded, NotDicom
from tests.dicom.written import (
    BIG,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    UNDEFINED,
    explicit,
    implicit,
    item,
    meta,
    part10,
    plain,
    referenced,
    sequence,
)

PLAIN = {
    "SOPClassUID": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.7"]},
    "SOPInstanceUID": {"vr": "UI", "Value": ["1.2.3.4"]},
    "ReferencedImageSequence": {
        "vr": "SQ",
        "Value": [
            {"ReferencedSOPInstanceUID": {"vr": "UI", "Value": ["1.2.3.1"]}},
            {"ReferencedSOPInstanceUID": {"vr": "UI", "Value": ["1.2.3.2"]}},
        ],
    },
    "PatientName": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]},
    "Rows": {"vr": "US", "Value": [2]},
}
PIXELS = struct.pack("<4H", 1, 2, 3, 0x1234)
NAME = explicit(0x00100010, "PN", b"Doe^Jane")
ROWS = explicit(0x00280010, "US", b"\x02\0")


def read(data: bytes) -> Extraction:
    """Extract, and hold the whole tree to be the same as the kept one."""
    extraction = extract(data, Limits())
    assert extraction.dataset == read_tree(data, Limits()).dataset
    return extraction


def problems(extraction: Extraction) -> list[str]:
    return [warning["problem"] for warning in extraction.warnings]


def content(data: bytes) -> dict:
    """The data set without file meta and pixels."""
    dataset = dict(read(data).dataset)
    dataset.pop("PixelData", None)
    return {key: element for key, element in dataset.items() if key not in ("TransferSyntaxUID", *_META)}


_META = ("FileMetaInformationGroupLength", "MediaStorageSOPClassUID")


def _implicit_plain() -> bytes:
    return b"".join(
        (
            implicit(0x00080016, b"1.2.840.10008.5.1.4.1.1.7\0"),
            implicit(0x00080018, b"1.2.3.4\0"),
            implicit(0x00081140, b"".join(item(implicit(0x00081155, b"1.2.3.%d\0" % n)) for n in (1, 2))),
            implicit(0x00100010, b"Doe^Jane"),
            implicit(0x00280010, b"\x02\0"),
            implicit(0x7FE00010, PIXELS),
        )
    )


def _inner_undefined(order: str = "<") -> bytes:
    items = [item(referenced(n, order), undefined=True, order=order) for n in (1, 2)]
    return plain(order).replace(
        sequence(0x00081140, [item(referenced(n, order), order=order) for n in (1, 2)], order=order),
        sequence(0x00081140, items, undefined=True, order=order),
    )


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(part10(plain()), id="as it should be"),
        pytest.param(part10(plain(), group_length=False), id="file meta without group length"),
        pytest.param(part10(plain(), syntax=None), id="no transfer syntax"),
        pytest.param(part10(_implicit_plain(), syntax=None), id="no transfer syntax, implicit"),
        pytest.param(part10(_implicit_plain(), syntax=IMPLICIT), id="implicit"),
        pytest.param(part10(_implicit_plain(), syntax=EXPLICIT), id="says explicit, is implicit"),
        pytest.param(part10(plain(), syntax=IMPLICIT), id="says implicit, is explicit"),
        pytest.param(part10(plain(">"), syntax=EXPLICIT), id="says little, is big endian"),
        pytest.param(part10(plain(), syntax=BIG), id="says big, is little endian"),
        pytest.param(part10(plain(">"), syntax=BIG), id="big endian"),
        pytest.param(part10(plain(), syntax=DEFLATED), id="deflated"),
        pytest.param(bytes(128) + b"DICM" + meta(DEFLATED) + plain(), id="says deflated, is not"),
        pytest.param(bytes(128) + b"DICM" + meta(DEFLATED) + zlib.compress(plain()), id="deflated with a zlib header"),
        pytest.param(part10(plain(), syntax="1.2.3"), id="unknown transfer syntax"),
        pytest.param(meta() + plain(), id="no preamble"),
        pytest.param(b"DICM" + meta() + plain(), id="DICM at 0"),
        pytest.param(b"DICM" + plain(), id="DICM at 0, no file meta"),
        pytest.param(bytes(128) + b"DICM" + plain(), id="no file meta"),
        pytest.param(bytes(128) + b"DICM" + _implicit_plain(), id="no file meta, implicit"),
        pytest.param(bytes(128) + b"DICM" + plain(">"), id="no file meta, big endian"),
        pytest.param(plain(), id="bare data set"),
        pytest.param(plain(">"), id="bare data set, big endian"),
        pytest.param(_implicit_plain(), id="bare data set, implicit"),
        pytest.param(b"\n" + plain(), id="one stray byte"),
        pytest.param(b"X" * 57 + b"DICM" + meta() + plain(), id="short preamble"),
        pytest.param(part10(_inner_undefined()), id="undefined lengths"),
        pytest.param(part10(_inner_undefined(">"), syntax=BIG), id="undefined lengths, big endian"),
        pytest.param(part10(plain() + bytes(512)), id="zeros at the end"),
        pytest.param(part10(implicit(0xFFFEE00D) + plain() + implicit(0xFFFEE0DD)), id="stray delimiters"),
    ],
)
def test_a_strange_file_gives_the_same_tree_as_a_proper_one(data: bytes) -> None:
    extraction = read(data)
    assert content(data) == PLAIN
    tree = read_tree(data, Limits())
    assert tree.read_bytes(tree.dataset["PixelData"]) == PIXELS
    assert extraction.truncated_at is None
    assert begins_like_dicom(data[:4096])


def test_letters_DICM_inside_a_value_do_not_hide_what_stands_before_them() -> None:  # noqa: N802
    head = explicit(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.7\0")
    value = b"A" * (128 - len(head) - 8) + b"DICMABCDEFGH"
    data = head + explicit(0x00081030, "LO", value) + NAME + ROWS
    assert data[128:132] == b"DICM"
    assert read(data).dataset.keys() == {"SOPClassUID", "StudyDescription", "PatientName", "Rows"}


def test_a_preamble_of_any_bytes_is_skipped() -> None:
    data = b"II*\0" + random.Random(1).randbytes(124) + part10(plain())[128:]
    assert content(data) == PLAIN


# --- what is refused ---------------------------------------------------------------------------------------------


def _zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.dcm", part10(plain()))
    return out.getvalue()


def _picture(kind: str) -> bytes:
    out = io.BytesIO()
    Image.new("L", (64, 64), 7).save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\0", id="one byte"),
        pytest.param(b"DICM", id="DICM alone"),
        pytest.param(bytes(128) + b"DICM", id="preamble alone"),
        pytest.param(bytes(128) + b"DICM" + b"no elements follow, only a sentence in English", id="preamble and text"),
        pytest.param(bytes(128) + b"DICM" + bytes(1000), id="preamble and zeros"),
        pytest.param(b"The quick brown fox jumps over the lazy dog. " * 50, id="plain text"),
        pytest.param(b"\xef\xbb\xbfname,value\r\n1,2\r\n" * 20, id="CSV"),
        pytest.param(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<< /Type /Catalog >>\nendobj\n" * 30, id="PDF"),
        pytest.param(_zip(), id="ZIP, with DICOM in it"),
        pytest.param(gzip.compress(part10(plain())), id="gzip"),
        pytest.param(_picture("PNG"), id="PNG"),
        pytest.param(_picture("JPEG"), id="JPEG"),
        pytest.param(_picture("TIFF"), id="TIFF"),
        pytest.param(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\0>\0\x01\0\0\0" + bytes(2000), id="ELF"),
        pytest.param(b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff\0\0" + bytes(2000), id="EXE"),
        pytest.param(bytes(10000), id="zeros"),
        pytest.param(b"\xff" * 10000, id="ones"),
        pytest.param(json.dumps({"00080016": {"vr": "UI", "Value": ["1.2"]}}).encode() * 20, id="JSON"),
        pytest.param(b"<?xml version='1.0'?><NativeDicomModel/>" * 20, id="XML"),
        pytest.param(random.Random(7).randbytes(20000), id="random bytes"),
    ],
)
def test_what_is_not_dicom_is_refused(data: bytes) -> None:
    with pytest.raises(NotDicom):
        extract(data, Limits())


@pytest.mark.parametrize("seed", range(200))
def test_random_bytes_are_refused(seed: int) -> None:
    data = random.Random(seed).randbytes(5000)
    assert not begins_like_dicom(data[:4096])
    with pytest.raises(NotDicom):
        extract(data, Limits())


def test_plain_files_are_refused_by_their_beginning() -> None:
    for data in (b"some text " * 500, b"%PDF-1.4 " * 500, _zip(), _picture("PNG"), bytes(4096), b"\x7fELF" + bytes(99)):
        assert not begins_like_dicom(data[:4096])


# --- inside a data set -------------------------------------------------------------------------------------------


def test_of_a_duplicate_the_first_is_kept_and_noted() -> None:
    extraction = read(part10(NAME + explicit(0x00100010, "PN", b"Roe^John") + ROWS))
    assert extraction.dataset["PatientName"]["Value"] == [{"Alphabetic": "Doe^Jane"}]
    assert {"path": "PatientName", "problem": "a duplicate element was left out; the first was kept"} in list(
        extraction.warnings
    )
    assert extraction.problems == 1


def test_elements_out_of_order_are_all_there_and_decoded_by_their_character_set() -> None:
    data = part10(ROWS + explicit(0x00100010, "PN", "Löwe".encode()) + explicit(0x00080005, "CS", b"ISO_IR 192"))
    assert read(data).dataset["PatientName"]["Value"] == [{"Alphabetic": "Löwe"}]


def test_an_odd_length_is_read_as_it_is() -> None:
    extraction = read(part10(explicit(0x00100010, "PN", b"Doe") + ROWS))
    assert extraction.dataset["PatientName"]["Value"] == [{"Alphabetic": "Doe"}]
    assert extraction.dataset["Rows"]["Value"] == [2]


def test_an_odd_length_that_does_not_count_its_padding_is_seen() -> None:
    extraction = read(part10(explicit(0x00100010, "PN", b"Doe ", length=3) + ROWS))
    assert extraction.dataset["Rows"]["Value"] == [2]
    assert extraction.problems == 1


@pytest.mark.parametrize("vr", ["ox", "??", "\0\0", "pn", "  ", "XX"])
def test_an_element_with_a_vr_that_is_none_is_read_by_its_tag(vr: str) -> None:
    head = struct.pack("<HH", 0x0010, 0x0010) + vr.encode()
    lengths = struct.pack("<HL", 0, 8) if vr == "XX" else struct.pack("<H", 8)
    extraction = read(part10(head + lengths + b"Doe^Jane" + ROWS))
    assert extraction.dataset["PatientName"]["Value"] == [{"Alphabetic": "Doe^Jane"}]
    assert extraction.dataset["Rows"]["Value"] == [2]
    assert extraction.problems == 1


def test_implicit_elements_inside_explicit_ones_are_read() -> None:
    data = part10(explicit(0x00080060, "CS", b"CT") + implicit(0x00100010, b"Doe^Jane") + ROWS)
    assert read(data).dataset["PatientName"]["Value"] == [{"Alphabetic": "Doe^Jane"}]
    assert read(data).dataset["Rows"]["Value"] == [2]


def test_explicit_elements_inside_implicit_ones_are_read() -> None:
    data = part10(
        implicit(0x00080060, b"CT") + implicit(0x00080070, b"ACME") + NAME + implicit(0x00280010, b"\2\0"), IMPLICIT
    )
    assert read(data).dataset["PatientName"]["Value"] == [{"Alphabetic": "Doe^Jane"}]
    assert read(data).dataset["Rows"]["Value"] == [2]


@pytest.mark.parametrize("undefined", [True, False])
def test_a_private_implicit_sequence_inside_explicit_is_read(undefined: bool) -> None:
    inner = item(implicit(0x00100020, b"ID77"), undefined)
    data = part10(explicit(0x00091010, "SQ", inner) + NAME)
    assert read(data).dataset["00091010"]["Value"] == [{"PatientID": {"vr": "LO", "Value": ["ID77"]}}]
    assert "PatientName" in read(data).dataset


@pytest.mark.parametrize(("order", "syntax"), [("<", EXPLICIT), (">", BIG)])
def test_a_un_of_undefined_length_is_a_sequence_in_implicit_little_endian(order: str, syntax: str) -> None:
    """PS3.5 6.2.2, whatever the byte order around it."""
    inner = item(implicit(0x00280010, b"\x02\x01"), True) + implicit(0xFFFEE0DD)
    data = part10(explicit(0x00091010, "UN", inner, UNDEFINED, order) + plain(order), syntax)
    assert read(data).dataset["00091010"] == {"vr": "SQ", "Value": [{"Rows": {"vr": "US", "Value": [258]}}]}
    assert content(data).items() >= PLAIN.items()


def test_a_un_whose_tag_is_known_is_read_by_its_dictionary() -> None:
    data = part10(
        explicit(0x00080005, "UN", b"ISO_IR 192")
        + explicit(0x00081140, "UN", item(implicit(0x00081155, b"1.2.3\0")))
        + explicit(0x00100010, "UN", "Löwe ".encode())
        + explicit(0x00280010, "UN", b"\2\0")
    )
    dataset = read(data).dataset
    assert dataset["PatientName"] == {"vr": "PN", "Value": [{"Alphabetic": "Löwe"}]}
    assert dataset["Rows"] == {"vr": "US", "Value": [2]}
    assert dataset["ReferencedImageSequence"]["Value"] == [
        {"ReferencedSOPInstanceUID": {"vr": "UI", "Value": ["1.2.3"]}}
    ]


def test_a_un_that_should_be_a_sequence_and_is_none_stays_bytes() -> None:
    data = part10(explicit(0x00081140, "UN", b"whatever") + NAME)
    assert read(data).dataset["ReferencedImageSequence"] == {"vr": "UN", "InlineBinary": b"whatever"}


def test_a_sequence_without_items_in_it_is_kept_as_bytes() -> None:
    extraction = read(part10(explicit(0x00081140, "SQ", b"whatever") + NAME))
    element = extraction.dataset["ReferencedImageSequence"]
    assert element == {"vr": "SQ", "raw": b"whatever", "problem": "a sequence without items"}
    assert "PatientName" in extraction.dataset
    assert extraction.problems == 1


@pytest.mark.parametrize(
    "inside",
    [
        pytest.param(
            implicit(0xFFFEE000, referenced(1), UNDEFINED) + implicit(0xFFFEE0DD), id="item delimiter missing"
        ),
        pytest.param(implicit(0xFFFEE000, referenced(1), UNDEFINED), id="both delimiters missing"),
        pytest.param(item(referenced(1)) + implicit(0xFFFEE00D) + implicit(0xFFFEE0DD), id="item delimiter too many"),
    ],
)
def test_missing_and_stray_delimiters_of_a_sequence_do_not_lose_what_follows(inside: bytes) -> None:
    extraction = read(part10(explicit(0x00081140, "SQ", inside, UNDEFINED) + NAME))
    first = extraction.dataset["ReferencedImageSequence"]["Value"][0]
    assert first["ReferencedSOPInstanceUID"]["Value"] == ["1.2.3.1"]
    assert "PatientName" in extraction.dataset or "PatientName" in first


def test_two_items_without_item_delimiters_are_two_items() -> None:
    inside = b"".join(implicit(0xFFFEE000, referenced(n), UNDEFINED) for n in (1, 2)) + implicit(0xFFFEE0DD)
    extraction = read(part10(explicit(0x00081140, "SQ", inside, UNDEFINED) + NAME))
    assert len(extraction.dataset["ReferencedImageSequence"]["Value"]) == 2
    assert "PatientName" in extraction.dataset


@pytest.mark.parametrize(("wrong", "items"), [(6, 1), (-6, 1), (2000, 1)])
def test_an_item_whose_length_is_wrong_does_not_lose_what_follows(wrong: int, items: int) -> None:
    content_ = referenced(1) + explicit(0x00081150, "UI", b"1.2.840.10008.5.1.4.1.1.2\0")
    inside = item(content_, length=len(content_) + wrong)
    extraction = read(part10(explicit(0x00081140, "SQ", inside) + NAME + ROWS))
    assert len(extraction.dataset["ReferencedImageSequence"]["Value"]) == items
    assert extraction.dataset["Rows"]["Value"] == [2]
    assert extraction.problems


def test_a_delimited_text_value_is_read_up_to_its_delimiter() -> None:
    data = part10(explicit(0x00081115, "UT", b"some text!", UNDEFINED) + implicit(0xFFFEE0DD) + NAME)
    extraction = read(data)
    assert extraction.dataset["ReferencedSeriesSequence"]["raw"] == "some text!"
    assert "PatientName" in extraction.dataset


# --- cut files ---------------------------------------------------------------------------------------------------


def test_a_file_cut_inside_its_pixels_keeps_everything_else() -> None:
    data = part10(plain())[:-3]
    extraction = read(data)
    assert content(data) == PLAIN
    assert extraction.dataset["PixelData"]["length"] == 5
    assert extraction.truncated_at == len(data) - 5 - 12


def test_a_file_cut_anywhere_keeps_what_stands_before_the_cut() -> None:
    whole = part10(_inner_undefined())
    seen = 0
    for cut in range(len(whole) - 1, 200, -1):
        extraction = read(whole[:cut])
        seen += extraction.truncated_at is not None
        assert extraction.truncated_at is None or extraction.truncated_at <= cut
        if cut > whole.index(b"1.2.3.1") + 8:
            first = extraction.dataset["ReferencedImageSequence"]["Value"][0]
            assert first["ReferencedSOPInstanceUID"]["Value"] == ["1.2.3.1"]
    assert seen > 150


def test_a_cut_text_value_keeps_its_beginning() -> None:
    extraction = read(part10(ROWS + explicit(0x00324000, "LT", b"a long comment", length=200)))
    element = extraction.dataset["StudyComments"]
    assert element["raw"] == "a long comment"
    assert "ends" in element["problem"]


def test_cut_fragments_keep_every_other_element() -> None:
    fragments = item(b"") + item(b"\xff\xd8" + bytes(50), length=500)
    extraction = read(part10(NAME + explicit(0x7FE00010, "OB", fragments, UNDEFINED), "1.2.840.10008.1.2.4.50"))
    assert extraction.dataset["PixelData"]["encapsulated"]
    assert extraction.dataset["PixelData"]["length"] == len(fragments)
    assert "PatientName" in extraction.dataset
    assert extraction.truncated_at is not None


def test_fragments_are_one_length_without_their_delimiter() -> None:
    fragments = item(b"") + item(b"\xff\xd8" + bytes(50))
    data = part10(
        NAME + explicit(0x7FE00010, "OB", fragments, UNDEFINED) + implicit(0xFFFEE0DD), "1.2.840.10008.1.2.4.50"
    )
    element = read(data).dataset["PixelData"]
    assert element == {"vr": "OB", "length": len(fragments), "offset": data.index(fragments), "encapsulated": True}


def test_a_deflated_stream_that_breaks_keeps_what_came_before() -> None:
    text = b"".join(
        explicit(0x00091000 + n, "LO", random.Random(n).randbytes(20).hex().encode()) for n in range(1, 200)
    )
    data = part10(explicit(0x00080060, "CS", b"CT") + text, DEFLATED)
    broken = data[: len(data) // 2] + b"\xff" * 20
    extraction = read(broken)
    assert len(extraction.dataset) > 50
    assert extraction.truncated_at == len(broken)
    assert "the deflated stream is broken" in problems(extraction)


# --- limits ------------------------------------------------------------------------------------------------------


def nested(levels: int, undefined: bool) -> bytes:
    data = explicit(0x00100020, "LO", b"DEEP")
    for _ in range(levels):
        data = sequence(0x00081140, [item(data, undefined)], undefined)
    return part10(data)


@pytest.mark.parametrize("undefined", [True, False])
def test_sixty_four_sequences_within_each_other_are_read_and_one_more_is_not(undefined: bool) -> None:
    level = read_tree(nested(64, undefined), Limits()).dataset
    for _ in range(64):
        level = level["ReferencedImageSequence"]["Value"][0]
    assert level["PatientID"]["Value"] == ["DEEP"]
    for levels in (65, 500):
        with pytest.raises(LimitExceeded):
            extract(nested(levels, undefined), Limits())


def test_a_deflate_bomb_is_refused() -> None:
    data = part10(plain() + explicit(0x00420011, "OB", bytes(4 << 20)), DEFLATED)
    assert len(data) < 20000
    with pytest.raises(LimitExceeded):
        extract(data, Limits(max_inflated_bytes=1 << 20))
    assert extract(data, Limits()).dataset["EncapsulatedDocument"] == {"vr": "OB", "length": 4 << 20}


def test_more_elements_than_the_callers_budget_are_left_to_a_worker() -> None:
    with pytest.raises(OverBudget):
        extract(part10(plain()), Limits(max_elements=3))
    with pytest.raises(OverBudget):
        extract(part10(explicit(0x00186000, "DS", b"\\".join([b"1"] * 2000)) + ROWS), Limits(max_elements=1000))
    with pytest.raises(LimitExceeded):
        extract(part10(plain()), Limits(max_tree_elements=3))


def test_a_file_is_read_the_same_from_any_buffer(tmp_path: Path) -> None:
    data = part10(plain())
    expected = extract(data, Limits())
    assert extract(bytearray(data), Limits()) == expected
    assert extract(memoryview(data), Limits()) == expected
    path = tmp_path / "file"
    path.write_bytes(data)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert extract(mapped, Limits()) == expected
