"""Text in every character set that the Standard has; the expected names are those of PS3.5 annexes H to K."""

from __future__ import annotations

import pytest

from service.dicom.charset import CharacterSet, Undecodable
from service.dicom.extract import extract
from service.dicom.limits import Limits
from tests.dicom.written import explicit, item, part10, sequence

ESC = b"\x1b"


def name(text: bytes, *names: str) -> dict:
    """The PN element of a file with this Specific Character Set."""
    charset = explicit(0x00080005, "CS", "\\".join(names).encode()) if names else b""
    return dict(extract(part10(charset + explicit(0x00100010, "PN", text)), Limits()).dataset["PatientName"])


def groups(*texts: str) -> dict:
    return dict(zip(("Alphabetic", "Ideographic", "Phonetic"), texts, strict=False))


# The bytes are those printed in the Standard, written here in hex by component group.
YAMADA_KANJI = bytes.fromhex("1b2442 3b33 4544 1b2842 5e 1b2442 4240 4f3a 1b2842")
YAMADA_KANA = bytes.fromhex("1b2442 2464 245e 2440 1b2842 5e 1b2442 243f 246d 2426 1b2842")


@pytest.mark.parametrize(
    ("names", "data", "expected"),
    [
        pytest.param(
            ("", "ISO 2022 IR 87"),
            b"Yamada^Tarou=" + YAMADA_KANJI + b"=" + YAMADA_KANA,
            groups("Yamada^Tarou", "山田^太郎", "やまだ^たろう"),
            id="H.3.1",
        ),
        pytest.param(
            ("ISO 2022 IR 13", "ISO 2022 IR 87"),
            bytes.fromhex("d4cfc0de5ec0dbb3 3d 1b2442 3b33 4544 1b284a 5e 1b2442 4240 4f3a 1b284a 3d")
            + bytes.fromhex("1b2442 2464 245e 2440 1b284a 5e 1b2442 243f 246d 2426 1b284a"),
            groups("ﾔﾏﾀﾞ^ﾀﾛｳ", "山田^太郎", "やまだ^たろう"),
            id="H.3.2",
        ),
        pytest.param(
            ("", "ISO 2022 IR 149"),
            b"Hong^Gildong="
            + bytes.fromhex("1b242943 fbf3 5e 1b242943 d1ce d4d7 3d 1b242943 c8ab 5e 1b242943 b1e6 b5bf"),
            groups("Hong^Gildong", "洪^吉洞", "홍^길동"),
            id="I.2",
        ),
        pytest.param(
            ("ISO_IR 192",),
            "Wang^XiaoDong=王^小東".encode(),
            groups("Wang^XiaoDong", "王^小東"),
            id="J.1",
        ),
        pytest.param(
            ("GB18030",), "Wang^XiaoDong=王^小东".encode("gb18030"), groups("Wang^XiaoDong", "王^小东"), id="J.3"
        ),
        pytest.param(
            ("", "ISO 2022 IR 58"),
            b"Zhang^XiaoDong="
            + ESC
            + b"$)A"
            + bytes.fromhex("d5c5")
            + b"^"
            + ESC
            + b"$)A"
            + bytes.fromhex("d0a1b6ab")
            + b"=",
            groups("Zhang^XiaoDong", "张^小东"),
            id="K.2",
        ),
        pytest.param(("ISO_IR 100",), b"Buc^J\xe9r\xf4me", groups("Buc^Jérôme"), id="Latin 1"),
        pytest.param(("ISO_IR 101",), "Wałęsa".encode("iso8859-2"), groups("Wałęsa"), id="Latin 2"),
        pytest.param(("ISO_IR 109",), "Ġorġ".encode("iso8859-3"), groups("Ġorġ"), id="Latin 3"),
        pytest.param(("ISO_IR 110",), "Šīmanis".encode("iso8859-4"), groups("Šīmanis"), id="Latin 4"),
        pytest.param(("ISO_IR 126",), bytes.fromhex("c4e9efede5f3e9efef"), groups("Διονεσιοο"), id="Greek, short"),
        pytest.param(("ISO_IR 127",), bytes.fromhex("e2c8c7e6ea5ee4e6d2c7d1"), groups("قباني^لنزار"), id="Arabic"),
        pytest.param(("ISO_IR 138",), bytes.fromhex("f9f8e5ef5ee3e1e5f8e4"), groups("שרון^דבורה"), id="Hebrew"),
        pytest.param(
            ("ISO_IR 144",),
            bytes.fromhex("bbeeda") + b"ce" + bytes.fromhex("dc d1") + b"yp" + bytes.fromhex("d3"),
            groups("Люкceмбypг"),  # noqa: RUF001
            id="Russian",
        ),
        pytest.param(("ISO_IR 148",), "Çavuşoğlu".encode("iso8859-9"), groups("Çavuşoğlu"), id="Turkish"),
        pytest.param(("ISO_IR 166",), "สมชาย".encode("iso8859-11"), groups("สมชาย"), id="Thai"),
        pytest.param(("ISO_IR 203",), "Œuvre €".encode("iso8859-15"), groups("Œuvre €"), id="Latin 9"),
        pytest.param(("ISO_IR 13",), bytes.fromhex("d4cfc0de5ec0dbb3"), groups("ﾔﾏﾀﾞ^ﾀﾛｳ"), id="katakana"),
        pytest.param(("GBK",), "王^小东".encode("gbk"), groups("王^小东"), id="GBK"),
        pytest.param(
            ("", "ISO 2022 IR 159"),
            ESC + b"$(D" + bytes(byte & 0x7F for byte in "丂".encode("euc_jp")[1:]) + ESC + b"(B",
            groups("丂"),
            id="supplementary kanji",
        ),
        pytest.param(
            ("ISO 2022 IR 100", "ISO 2022 IR 144", "ISO 2022 IR 126"),
            b"Dionysios=" + ESC + b"-F" + "Διον".encode("iso8859-7") + b"=" + ESC + b"-L" + "Люк".encode("iso8859-5"),
            groups("Dionysios", "Διον", "Люк"),
            id="Greek and Russian by escapes",
        ),
    ],
)
def test_a_name_is_read_in_its_character_set(names: tuple[str, ...], data: bytes, expected: dict) -> None:
    assert name(data, *names) == {"vr": "PN", "Value": [expected]}


def test_code_extensions_end_with_each_group_component_and_value() -> None:
    """PS3.5 6.1.2.5.3: after a delimiter the first value of Specific Character Set holds again."""
    greek = ESC + b"-F" + "Δ".encode("iso8859-7")
    data = greek + b"^\xe9=" + greek + b"\xc4=\xe9\\" + greek + b"\\\xe9"
    assert name(data, "ISO 2022 IR 100", "ISO 2022 IR 126")["Value"] == [
        groups("Δ^é", "ΔΔ", "é"),
        groups("Δ"),
        groups("é"),
    ]


def test_a_korean_name_needs_its_escape_only_once_a_component_and_not_for_ascii() -> None:
    data = ESC + b"$)C" + "김 a 희".encode("euc_kr")
    assert name(data, "", "ISO 2022 IR 149")["Value"] == [groups("김 a 희")]


def test_a_line_of_text_ends_a_code_extension() -> None:
    charset = CharacterSet(("ISO 2022 IR 100", "ISO 2022 IR 126"))
    assert charset.decode(ESC + b"-F\xc4\r\n\xe9^" + ESC + b"-F\xc4^\xc4") == "Δ\r\né^Δ^Δ"
    assert charset.decode(ESC + b"-F\xc4^\xc4", is_name=True) == "Δ^Ä"


@pytest.mark.parametrize(
    ("names", "texts", "encoding"),
    [
        (("GB18030",), ["中文", "乗測", "癪"], "gb18030"),
        (("GBK",), ["中文", "乗測"], "gbk"),
        (("ISO_IR 192",), ["中文", "é"], "utf-8"),
    ],
)
def test_a_backslash_inside_a_character_does_not_divide_values(
    names: tuple[str, ...], texts: list[str], encoding: str
) -> None:
    data = "\\".join(texts).encode(encoding)
    if encoding != "utf-8":
        assert data.count(b"\\") > len(texts) - 1, "no character here has 5C as its second byte"
    file = part10(explicit(0x00080005, "CS", "\\".join(names).encode()) + explicit(0x00081040, "LO", data))
    assert extract(file, Limits()).dataset["InstitutionalDepartmentName"]["Value"] == texts


def test_a_backslash_inside_a_kanji_does_not_divide_values() -> None:
    kanji = ESC + b"$B" + bytes.fromhex("3d3c 255c") + ESC + b"(B"
    file = part10(explicit(0x00080005, "CS", b"\\ISO 2022 IR 87") + explicit(0x00081040, "LO", kanji + b"\\b"))
    assert extract(file, Limits()).dataset["InstitutionalDepartmentName"]["Value"] == ["充ボ", "b"]


@pytest.mark.parametrize("written", ["ISO IR 192", "ISO_IR_192", "iso_ir 192", "UTF-8", "utf8", "ISO-IR 192", "192"])
def test_a_misspelled_character_set_is_understood_and_noted(written: str) -> None:
    data = explicit(0x00080005, "CS", written.encode()) + explicit(0x00100010, "PN", "Löwe".encode())
    extraction = extract(part10(data), Limits())
    assert extraction.dataset["PatientName"]["Value"] == [{"Alphabetic": "Löwe"}]
    assert [warning["path"] for warning in extraction.warnings] == ["SpecificCharacterSet"]


@pytest.mark.parametrize("names", [(), ("ISO_IR 6",), ("NOT A NAME",), ("ISO 2022 IR 999",)])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_text_without_a_character_set_that_explains_it_is_kept_with_a_problem(
    names: tuple[str, ...], encoding: str
) -> None:
    element = name("Löwe^A".encode(encoding), *names)
    assert element["Value"] == [{"Alphabetic": "Löwe^A"}]
    assert element["raw"] == "Löwe^A".encode(encoding)
    assert "problem" in element


@pytest.mark.parametrize(
    ("names", "data"),
    [
        (("ISO_IR 192",), b"L\xf6we"),
        (("GB18030",), b"a\x80\xff"),
        (("", "ISO 2022 IR 87"), ESC + b"$B\x3b" + ESC + b"(B"),
        (("", "ISO 2022 IR 149"), ESC + b"$)C\xfb"),
        (("ISO_IR 100",), ESC + b"%Gx"),
        (("ISO_IR 13",), b"\xf0"),
    ],
)
def test_broken_text_is_kept_with_its_bytes(names: tuple[str, ...], data: bytes) -> None:
    element = name(data, *names)
    assert element["raw"] == data
    assert element["Value"] == [{"Alphabetic": data.decode("latin-1")}]


def test_an_item_may_have_a_character_set_of_its_own_and_inherits_otherwise() -> None:
    greek = item(explicit(0x00080005, "CS", b"ISO_IR 126") + explicit(0x00081040, "LO", b"\xc4"))
    same = item(explicit(0x00081040, "LO", b"\xc4"))
    data = explicit(0x00080005, "CS", b"ISO_IR 100") + sequence(0x00081140, [greek, same])
    items = extract(part10(data + explicit(0x00100010, "PN", b"\xc4")), Limits()).dataset
    values = [entry["InstitutionalDepartmentName"]["Value"] for entry in items["ReferencedImageSequence"]["Value"]]
    assert values == [["Δ"], ["Ä"]]
    assert items["PatientName"]["Value"] == [{"Alphabetic": "Ä"}]


def test_stray_bytes_in_a_code_string_are_text_too() -> None:
    data = explicit(0x00080005, "CS", b"ISO_IR 100") + explicit(0x00080060, "CS", b"C\xc4")
    assert extract(part10(data), Limits()).dataset["Modality"]["Value"] == ["CÄ"]


def test_an_escape_that_nobody_announced_is_followed() -> None:
    assert name(YAMADA_KANJI)["Value"] == [groups("山田^太郎")]
    assert name("吉洞".encode("euc_kr"), "", "ISO 2022 IR 149")["Value"] == [groups("吉洞")]


def test_what_cannot_be_decoded_says_so() -> None:
    with pytest.raises(Undecodable) as caught:
        CharacterSet(("ISO_IR 192",)).decode(b"\xff")
    assert caught.value.text == "ÿ"
