"""The bytes of a value to its typed element, VR by VR."""

from __future__ import annotations

import math
import struct

import pytest
from bson.decimal128 import Decimal128

from service.dicom.charset import CharacterSet
from service.dicom.extract import extract
from service.dicom.limits import Limits
from service.dicom.values import Unconvertible, converters, to_little
from tests.dicom.written import BIG, IMPLICIT, explicit, implicit, part10, sequence
from tests.dicom.written import item as written_item

LITTLE_ENDIAN = converters(CharacterSet(("ISO_IR 192",)), little=True)
BIG_ENDIAN = converters(CharacterSet(("ISO_IR 192",)), little=False)


def convert(vr: str, data: bytes) -> dict:
    return LITTLE_ENDIAN[vr](data)


def dataset(*elements: bytes, syntax: str | None = None) -> dict:
    data = part10(b"".join(elements), syntax) if syntax else part10(b"".join(elements))
    return dict(extract(data, Limits()).dataset)


@pytest.mark.parametrize(
    ("vr", "data", "values"),
    [
        ("AE", b" STORE SCP ", ["STORE SCP"]),
        ("AS", b"042Y", ["042Y"]),
        ("CS", b"ORIGINAL\\PRIMARY\\\\M ", ["ORIGINAL", "PRIMARY", None, "M"]),
        ("DA", b"20240229\\19991231", ["20240229", "19991231"]),
        ("DA", b"1997.04.24", ["1997.04.24"]),
        ("DT", b"20240229235959.123456-0730", ["20240229235959.123456-0730"]),
        ("TM", b"070907.0705 ", ["070907.0705"]),
        ("LO", b"  a  b  \\c", ["a  b", "c"]),
        ("LO", b"\\", [None, None]),
        ("SH", b"CT 1\0", ["CT 1"]),
        ("UC", b" a\\ b  ", [" a", " b"]),
        ("UI", b"1.2.840\0", ["1.2.840"]),
        ("UI", b"1.2.840 \\1.3\0\0", ["1.2.840", "1.3"]),
        ("LT", b"  first \\ line\r\nsecond   ", ["  first \\ line\r\nsecond"]),
        ("ST", b"a\\b ", ["a\\b"]),
        ("UT", "é\\ß ".encode(), ["é\\ß"]),
        ("UR", b"http://a.example/b\\c ", ["http://a.example/b\\c"]),
        ("PN", b"Doe^Jane^^^", [{"Alphabetic": "Doe^Jane^^^"}]),
        ("PN", b"A^B\\\\=C^D", [{"Alphabetic": "A^B"}, None, {"Ideographic": "C^D"}]),
        ("PN", b"A==C ", [{"Alphabetic": "A", "Phonetic": "C"}]),
        ("PN", b"A=B=C=D", [{"Alphabetic": "A", "Ideographic": "B", "Phonetic": "C=D"}]),
        ("US", b"\1\2\xff\xff", [513, 65535]),
        ("SS", b"\1\2\xff\xff", [513, -1]),
        ("UL", b"\xff\xff\xff\xff", [4294967295]),
        ("SL", b"\xff\xff\xff\xff", [-1]),
        ("SV", b"\0" * 7 + b"\x80", [-(2**63)]),
        ("UV", b"\xff" * 7 + b"\x7f", [2**63 - 1]),
        ("UV", b"\xff" * 8, [Decimal128("18446744073709551615")]),
        ("FL", struct.pack("<f", 0.1), [0.10000000149011612]),
        ("FD", struct.pack("<2d", 0.1, -0.0), [0.1, -0.0]),
        ("FD", struct.pack("<2d", math.inf, -math.inf), [math.inf, -math.inf]),
        ("AT", bytes.fromhex("1800 6310 e07f 1000"), ["00181063", "7FE00010"]),
        ("IS", b"12", [12]),
        ("IS", b"-9223372036854775808", [-(2**63)]),
        ("IS", b"1\\\\-3 ", [1, None, -3]),
        ("DS", b"5.0\\-0.25", [5.0, -0.25]),
        ("DS", b"1.5\\\\2.5", [1.5, None, 2.5]),
    ],
)
def test_a_value_gets_the_type_of_its_vr(vr: str, data: bytes, values: list) -> None:
    assert convert(vr, data) == {"vr": vr, "Value": values}


def test_what_is_not_a_number_is_kept_as_such() -> None:
    (value,) = convert("FD", struct.pack("<d", math.nan))["Value"]
    assert math.isnan(value)


@pytest.mark.parametrize("vr", sorted(set(LITTLE_ENDIAN)))
def test_an_empty_value_is_an_element_without_values(vr: str) -> None:
    assert convert(vr, b"") == {"vr": vr}


@pytest.mark.parametrize("vr", ["AE", "CS", "DA", "DS", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UI", "UT"])
def test_a_value_of_nothing_but_padding_is_empty(vr: str) -> None:
    assert convert(vr, b"  ") == {"vr": vr}
    assert convert(vr, b"\0\0") == {"vr": vr}


@pytest.mark.parametrize(
    ("vr", "data", "values", "raw"),
    [
        ("IS", b"002.880000E+01", [28.8], "002.880000E+01"),
        ("IS", b"2.0E+01 ", [20], "2.0E+01"),
        ("IS", b"+5\\007", [5, 7], "+5\\007"),
        ("IS", b"1 \\2", [1, 2], "1 \\2"),
        ("DS", b"1.50", [1.5], "1.50"),
        ("DS", b"-.5 ", [-0.5], "-.5"),
        ("DS", b"+1E3", [1000.0], "+1E3"),
        ("DS", b"0.1\\0.10", [0.1, 0.1], "0.1\\0.10"),
        ("DS", b"123456789.123456789", [123456789.12345679], "123456789.123456789"),
        ("DS", b"120", [120.0], "120"),
    ],
)
def test_the_text_of_a_number_stays_beside_it_where_the_number_does_not_give_it_back(
    vr: str, data: bytes, values: list, raw: str
) -> None:
    element = convert(vr, data)
    assert element == {"vr": vr, "Value": values, "raw": raw}
    assert [type(value) for value in element["Value"]] == [type(value) for value in values]


@pytest.mark.parametrize(
    ("vr", "data"),
    [
        ("IS", b"twelve"),
        ("IS", b"9223372036854775808"),
        ("IS", b"1" * 5000),
        ("IS", b"1\\x"),
        ("IS", b"1_000"),
        ("DS", b"1,5"),
        ("DS", b"nan"),
        ("DS", b"Infinity"),
        ("DS", b"1e999"),
        ("DS", b"1_0.0"),
        ("DS", b"0x10"),
        ("DS", b"1.0\\?"),
    ],
)
def test_a_text_that_is_no_number_is_kept_as_it_is(vr: str, data: bytes) -> None:
    with pytest.raises(Unconvertible) as caught:
        convert(vr, data)
    assert caught.value.element.keys() == {"vr", "raw", "problem"}
    assert caught.value.element["raw"] == data.decode()


@pytest.mark.parametrize(
    ("vr", "data"),
    [("US", b"abc"), ("FD", b"1234"), ("AT", b"12"), ("UL", b"1"), ("DS", b"1\xb2"), ("IS", "٣".encode())],
)
def test_bytes_that_are_no_number_are_kept_as_they_are(vr: str, data: bytes) -> None:
    with pytest.raises(Unconvertible) as caught:
        convert(vr, data)
    assert caught.value.element["raw"] == data


def test_a_value_that_cannot_be_converted_costs_nothing_but_itself() -> None:
    extraction = extract(
        part10(
            explicit(0x00180050, "DS", b"thick ")
            + sequence(
                0x00081140, [written_item(explicit(0x00081160, "IS", b"x1") + explicit(0x00081155, "UI", b"1.2"))]
            )
            + explicit(0x00280010, "US", b"abc")
            + explicit(0x00280011, "US", b"\2\0")
        ),
        Limits(),
    )
    assert extraction.dataset["SliceThickness"]["raw"] == "thick"
    assert extraction.dataset["Rows"]["raw"] == b"abc"
    assert extraction.dataset["Columns"]["Value"] == [2]
    item = extraction.dataset["ReferencedImageSequence"]["Value"][0]
    assert item["ReferencedFrameNumber"]["raw"] == "x1"
    assert item["ReferencedSOPInstanceUID"]["Value"] == ["1.2"]
    assert extraction.problems == 3
    assert [warning["path"] for warning in extraction.warnings] == [
        "SliceThickness",
        "ReferencedImageSequence[0].ReferencedFrameNumber",
        "Rows",
    ]
    assert not any("thick" in warning["problem"] or "abc" in warning["problem"] for warning in extraction.warnings)


@pytest.mark.parametrize(("vr", "size"), [("OB", 1), ("OW", 2), ("OF", 4), ("OL", 4), ("OD", 8), ("OV", 8), ("UN", 1)])
def test_bytes_are_little_endian_whatever_the_file_is(vr: str, size: int) -> None:
    data = bytes(range(16))
    turned = b"".join(data[start : start + size][::-1] for start in range(0, 16, size))
    assert convert(vr, data) == {"vr": vr, "InlineBinary": data}
    assert BIG_ENDIAN[vr](data) == {"vr": vr, "InlineBinary": turned}
    assert to_little(data[:15], 2) == bytes((1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 14))


def test_numbers_are_read_in_the_order_of_the_file() -> None:
    assert BIG_ENDIAN["US"](b"\1\2")["Value"] == [258]
    assert BIG_ENDIAN["AT"](b"\0\x18\x10\x63")["Value"] == ["00181063"]
    assert BIG_ENDIAN["FD"](struct.pack(">d", 1.5))["Value"] == [1.5]


def test_bytes_up_to_a_kibibyte_stand_in_the_tree_and_longer_ones_by_their_length() -> None:
    data = part10(explicit(0x00420011, "OB", bytes(1024)) + explicit(0x00660023, "OW", bytes(1026)))
    tree = extract(data, Limits()).dataset
    assert tree["EncapsulatedDocument"] == {"vr": "OB", "InlineBinary": bytes(1024)}
    assert tree["TrianglePointIndexList"] == {"vr": "OW", "length": 1026, "offset": len(data) - 1026}
    swapped = part10(explicit(0x00660023, "OW", bytes(1026), order=">"), BIG)
    assert extract(swapped, Limits()).dataset["TrianglePointIndexList"] == {"vr": "OW", "length": 1026}


@pytest.mark.parametrize(
    ("tag", "vr", "key"),
    [(0x7FE00010, "OW", "PixelData"), (0x7FE00008, "OF", "FloatPixelData"), (0x7FE00009, "OD", "DoubleFloatPixelData")],
)
def test_pixel_data_never_enter_the_tree_however_short(tag: int, vr: str, key: str) -> None:
    data = part10(explicit(tag, vr, bytes(8)))
    assert extract(data, Limits()).dataset[key] == {"vr": vr, "length": 8, "offset": len(data) - 8}
    assert dataset(explicit(tag, vr, b""))[key] == {"vr": vr}


# --- VRs that the file does not say ------------------------------------------------------------------------------


@pytest.mark.parametrize(("signed", "vr", "value"), [(0, "US", 65534), (1, "SS", -2), (None, "US", 65534)])
def test_us_or_ss_is_settled_by_the_pixel_representation_around(signed: int | None, vr: str, value: int) -> None:
    """PS3.3 C.7.6.3.1.4 and C.11.1.1: also for an element in a sequence, or before the one that settles it."""
    representation = b"" if signed is None else implicit(0x00280103, struct.pack("<H", signed))
    found = dataset(
        implicit(0x00280071, b"\xfe\xff"),
        representation,
        implicit(0x00280106, b"\xfe\xff"),
        implicit(0x00283000, written_item(implicit(0x00283002, b"\xfe\xff"))),
        syntax=IMPLICIT,
    )
    expected = {"vr": vr, "Value": [value]}
    assert found["PerimeterValue"] == expected
    assert found["SmallestImagePixelValue"] == expected
    assert found["ModalityLUTSequence"]["Value"][0]["LUTDescriptor"] == expected


def test_choices_of_bytes_are_ow_in_implicit_vr() -> None:
    """PS3.5 A.1."""
    found = dataset(
        implicit(0x00283006, b"\1\0"), implicit(0x50003000, b"\1\0"), implicit(0x54001010, b"\1\0"),
        implicit(0x60003000, b"\1\0"), implicit(0x7FE00010, b"\1\0"), syntax=IMPLICIT,
    )  # fmt: skip
    assert {key: element["vr"] for key, element in found.items() if element["vr"] in ("OB", "OW")} == {
        "LUTData": "OW",
        "50003000": "OB",
        "WaveformData": "OW",
        "60003000": "OW",
        "PixelData": "OW",
    }


def test_a_private_element_has_the_vr_of_its_creators_dictionary() -> None:
    found = dataset(
        implicit(0x00080000, b"\4\0\0\0"),
        implicit(0x00090000, b"\4\0\0\0"),
        implicit(0x00090010, b"GEMS_IDEN_01"),
        implicit(0x00091001, b"GE_GENESIS_FF "),
        implicit(0x000910FE, b"ab"),
        implicit(0x00191101, b"ab"),
        implicit(0x00270011, b"GEMS_IMAG_01"),
        implicit(0x00271106, struct.pack("<l", -2)),
        syntax=IMPLICIT,
    )
    assert found["00080000"] == {"vr": "UL", "Value": [4]}
    assert found["00090000"] == {"vr": "UL", "Value": [4]}
    assert found["00090010"] == {"vr": "LO", "Value": ["GEMS_IDEN_01"]}
    assert found["00091001"] == {"vr": "LO", "Value": ["GE_GENESIS_FF"]}
    assert found["000910FE"] == {"vr": "UN", "InlineBinary": b"ab"}
    assert found["00191101"] == {"vr": "UN", "InlineBinary": b"ab"}
    assert found["00271106"] == {"vr": "SL", "Value": [-2]}


def test_a_repeating_group_has_the_vr_of_its_first() -> None:
    found = dataset(implicit(0x60020010, b"\7\0"), implicit(0x60040022, b"an overlay"), syntax=IMPLICIT)
    assert found["60020010"] == {"vr": "US", "Value": [7]}
    assert found["60040022"] == {"vr": "LO", "Value": ["an overlay"]}
