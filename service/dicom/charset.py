"""Specific Character Set: bytes to text (PS3.3 C.12.1.1.2, PS3.5 6.1 and annexes H to K).

Text with code extensions (ISO 2022) is decoded by a small state machine: the character set in G0 (bytes below 80) and
in G1 (bytes above) changes with every escape sequence, and both fall back to those of the first value of Specific
Character Set before each delimiter (PS3.5 6.1.2.5.3): backslash, end of line, and in names also ``^`` and ``=``.
"""

from __future__ import annotations

import re
from functools import lru_cache

_SINGLE_BYTE = {
    100: "latin-1",
    101: "iso8859-2",
    109: "iso8859-3",
    110: "iso8859-4",
    126: "iso8859-7",
    127: "iso8859-6",
    138: "iso8859-8",
    144: "iso8859-5",
    148: "iso8859-9",
    166: "iso8859-11",
    203: "iso8859-15",
}
_KATAKANA, _KOREAN, _CHINESE = "katakana", "euc_kr", "gb2312"
_ASCII, _KANJI, _SUPPLEMENTARY_KANJI = "ascii", "jis-x-0208", "jis-x-0212"
_G1_BY_NUMBER = _SINGLE_BYTE | {13: _KATAKANA, 149: _KOREAN, 58: _CHINESE}
_G0_BY_NUMBER = {87: _KANJI, 159: _SUPPLEMENTARY_KANJI}
_WHOLE = {"GB18030": "gb18030", "GBK": "gbk", "ISO_IR 192": "utf-8"}

# PS3.3 tables C.12-3 and C.12-4; ESC $ @ is the older JIS C 6226, a subset that Japanese devices still write.
_ESCAPES_G0 = {b"(B": _ASCII, b"(J": _ASCII, b"$B": _KANJI, b"$@": _KANJI, b"$(D": _SUPPLEMENTARY_KANJI}
_ESCAPES_G1 = {b")I": _KATAKANA, b"$)C": _KOREAN, b"$)A": _CHINESE} | {
    b"-" + final: _SINGLE_BYTE[number]
    for final, number in (
        (b"A", 100), (b"B", 101), (b"C", 109), (b"D", 110), (b"F", 126), (b"G", 127),
        (b"H", 138), (b"L", 144), (b"M", 148), (b"T", 166), (b"b", 203),
    )
}  # fmt: skip

_PIECES = re.compile(rb"\x1b(\$[()][A-D]|\$[@AB]|[()-][A-Zb])|(\x1b)|([\x00-\x1a\x1c-\x7f]+)|([\x80-\xff]+)", re.DOTALL)
_TEXT_RESETS = re.compile(rb"[\\\r\n\t\f]")
_NAME_RESETS = re.compile(rb"[\\\r\n\t\f^=]")
_CONTROL = re.compile(rb"[\x00-\x1f]")
_WORDS = re.compile(rb" +|[^ ]+")
_NAME = re.compile(r"(?:ISO[ _-]*)?(?P<extended>2022)?[ _-]*(?:IR)?[ _-]*(?P<number>[0-9]{1,3})")
_ALIASES = {
    "UTF8": "ISO_IR 192", "UTF-8": "ISO_IR 192", "UNICODE": "ISO_IR 192", "GB2312": "GBK", "ISO 2022 GBK": "GBK",
    "ISO 2022 58": "ISO 2022 IR 58", "LATIN1": "ISO_IR 100", "LATIN-1": "ISO_IR 100", "ISO8859-1": "ISO_IR 100",
    "ISO-8859-1": "ISO_IR 100", "ISO 8859-1": "ISO_IR 100", "ISO-8859-2": "ISO_IR 101", "ISO-8859-5": "ISO_IR 144",
    "ASCII": "ISO_IR 6", "US-ASCII": "ISO_IR 6", "SHIFT_JIS": "SHIFT_JIS", "ISO-2022-JP": "ISO 2022 IR 87",
    "GB 18030": "GB18030",
}  # fmt: skip


class Undecodable(Exception):
    """Bytes that their character set cannot decode; `text` is the next best reading of them."""

    def __init__(self, text: str) -> None:
        super().__init__("text that its character set cannot decode")
        self.text = text


class CharacterSet:
    """How the text of one data set is decoded.

    Parameters
    ----------
    names : tuple of str
        The values of Specific Character Set (0008,0005), without padding.

    Attributes
    ----------
    problem : str or None
        What is wrong with the names; text is decoded by what they seem to mean.
    """

    def __init__(self, names: tuple[str, ...] = ()) -> None:
        self.names = names
        self.problem: str | None = None
        self._whole: str | None = None
        self._g0 = _ASCII
        self._g1: str | None = None
        self._declared_g1: str | None = None
        for index, name in enumerate(names):
            self._add(name, first=not index)

    def _add(self, name: str, first: bool) -> None:
        """Take one value of Specific Character Set into account."""
        proper = _ALIASES.get(name.upper(), name.upper())
        if proper == "SHIFT_JIS" or proper in _WHOLE:
            if proper != name:
                self.problem = "a character set is not named as the Standard does"
            # PS3.5 6.1.2.5.4: these allow no code extensions, so they count wherever they stand.
            self._whole = _WHOLE.get(proper, "shift_jis")
            return
        if proper in ("", "ISO_IR 6", "ISO 2022 IR 6"):
            return
        match = _NAME.fullmatch(proper)
        number = int(match["number"]) if match else -1
        if number == 192:
            self._whole = "utf-8"
        elif number in _G1_BY_NUMBER:
            if first:
                self._g1 = _G1_BY_NUMBER[number]
            self._declared_g1 = self._declared_g1 or _G1_BY_NUMBER[number]
        elif number not in _G0_BY_NUMBER and number not in (6, 14):
            self.problem = "a character set is not one of the Standard's"
            return
        if not re.fullmatch(r"ISO_IR [0-9]+|ISO 2022 IR [0-9]+", name):
            self.problem = "a character set is not named as the Standard does"

    def decode(self, data: bytes, is_name: bool = False) -> str:
        """Decode a value, with its backslashes still in it.

        Parameters
        ----------
        data : bytes
            The value. A backslash that is part of a multi-byte character is not one in the text.
        is_name : bool
            Whether it is a PN, where the component delimiters reset code extensions too.

        Raises
        ------
        Undecodable
            Some bytes mean nothing in the character set. Its `text` reads them as UTF-8 or Latin-1.
        """
        try:
            if self._whole is not None:
                return data.decode(self._whole)
            if data.isascii() and b"\x1b" not in data:
                return data.decode("ascii")
            return self._decode_extended(data, _NAME_RESETS if is_name else _TEXT_RESETS)
        except ValueError:
            raise Undecodable(_next_best(data)) from None

    def _decode_extended(self, data: bytes, resets: re.Pattern[bytes]) -> str:
        """Decode text with code extensions; ValueError where a byte means nothing."""
        g0, g1 = self._g0, self._g1
        out: list[str] = []
        for match in _PIECES.finditer(data):
            escape, lone, low, high = match.groups()
            if escape is not None:
                if escape in _ESCAPES_G0:
                    g0 = _ESCAPES_G0[escape]
                elif escape in _ESCAPES_G1:
                    g1 = _ESCAPES_G1[escape]
                else:
                    raise ValueError
            elif lone is not None:
                raise ValueError
            elif high is not None:
                out.append(_decode_high(high, g1 or self._declared_g1))
            elif g0 == _ASCII:
                out.append(low.decode("ascii"))
                if resets.search(low):
                    g0, g1 = self._g0, self._g1
            else:
                line = _CONTROL.split(low, maxsplit=1)
                # A space has no place between two-byte characters, but devices put it there.
                out += [
                    _decode_pairs(word, g0) if word[0] > 0x20 else word.decode() for word in _WORDS.findall(line[0])
                ]
                if len(line) > 1:
                    # A control character ends a line, and the character set with it.
                    out.append(low[len(line[0]) :].decode("ascii"))
                    g0, g1 = self._g0, self._g1
        return "".join(out)


def _decode_high(data: bytes, g1: str | None) -> str:
    """Decode bytes of G1."""
    if g1 is None:
        raise ValueError
    if g1 != _KATAKANA:
        return data.decode(g1)
    # JIS X 0201 katakana, 63 characters from A1; PS3.3 table C.12-3.
    if not all(0xA1 <= number <= 0xDF for number in data):
        raise ValueError
    return "".join(chr(0xFF61 + number - 0xA1) for number in data)


def _decode_pairs(data: bytes, g0: str) -> str:
    """Decode the two-byte characters of G0, by way of EUC, which has them in the upper half."""
    high = bytes(number | 0x80 for number in data)
    if g0 == _SUPPLEMENTARY_KANJI:
        high = b"".join(b"\x8f" + high[index : index + 2] for index in range(0, len(high), 2))
    return high.decode("euc_jp")


def _next_best(data: bytes) -> str:
    """Read bytes that their character set does not explain: as UTF-8 if they are, else as Latin-1, which loses none."""
    try:
        return data.decode("utf-8")
    except ValueError:
        return data.decode("latin-1")


@lru_cache(maxsize=256)
def character_set(names: tuple[str, ...]) -> CharacterSet:
    """Return the character set of the values of Specific Character Set (0008,0005)."""
    return CharacterSet(names)
