"""Where the data set of a file begins, and how it is written: preamble, file meta, transfer syntax (PS3.10 7.1)."""

from __future__ import annotations

from dataclasses import dataclass

from service.dicom.limits import Limits, Readable
from service.dicom.parsing.headers import BIG, LITTLE, LONG_VRS, SHORT_VRS, UNDEFINED, ByteOrder
from service.dicom.parsing.implied_vr import standard_vr
from service.dicom.parsing.inflate import inflate
from service.dicom.parsing.raw import Element
from service.dicom.parsing.reader import Parser
from service.errors import NotDicom

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
GE_PRIVATE = "1.2.840.113619.5.2"  # a data set in implicit VR little endian
DEFLATED = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})

_OTHER_FORMATS = (
    *(b"PK\x03\x04", b"\x1f\x8b", b"%PDF", b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"\x7fELF", b"MZ", b"RIFF"),
    *(b"7z\xbc\xaf", b"Rar!", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"SQLite", b"{", b"[", b"<", b"\0\0\0\x0cjP"),
)
_TRANSFER_SYNTAX = 0x00020010
_GROUP_LENGTH = 0x00020000
_HEAD = 4096


@dataclass(frozen=True, slots=True)
class RawFile:
    """A file as it was read: what lies where.

    Parameters
    ----------
    meta : list of Element
        The file meta group, little endian, with offsets into `original`.
    elements : list of Element
        The data set, with offsets into `buffer`.
    original, buffer : bytes or mmap
        The file, and what the data set was read from: the same unless the file is deflated.
    little : bool
        The byte order of the values in the data set.
    transfer_syntax : str or None
        What the file meta names.
    parser, meta_parser : Parser
        What was strange.
    """

    meta: list[Element]
    elements: list[Element]
    original: Readable
    buffer: Readable
    little: bool
    transfer_syntax: str | None
    parser: Parser
    meta_parser: Parser


def begins_like_dicom(head: bytes) -> bool:
    """Return whether the first bytes of a file (4 KiB are enough) can be the beginning of a DICOM file.

    Plain text, PDF, ZIP, PNG, JPEG, ELF and zeros are not; a bare data set without preamble and file meta is.
    """
    return _find_start(head, whole=False) is not None


def read_dataset(buffer: Readable, limits: Limits) -> RawFile:
    """Read where the elements of a file lie, as tolerantly as can be.

    Parameters
    ----------
    buffer : bytes or mmap
        The whole file, or what there is of it.
    limits : Limits
        Bounds on nesting, elements and inflated bytes.

    Raises
    ------
    NotDicom
        Nothing in the file can be read as a data element.
    LimitExceeded, OverBudget
        A bound was passed.
    """
    start = _find_start(buffer, whole=True)
    if start is None:
        raise NotDicom("The file is not DICOM: no data element can be read from it.")
    size = len(buffer)
    meta_parser = Parser(buffer, limits)
    if start not in (0, 132):
        meta_parser.note("the first element is not where PS3.10 has it")
    meta, pos = _read_meta(meta_parser, start)
    syntax = _transfer_syntax(meta, buffer)
    if syntax in DEFLATED and not _run(buffer, pos, size, True, LITTLE):
        inflated, whole = inflate(buffer, pos, limits)
        if inflated:
            parser = Parser(inflated, limits)
            explicit, order = _encoding(inflated, 0, EXPLICIT_LITTLE)
            elements, _ = parser.elements(0, len(inflated), explicit, order)
            if not whole or parser.open_end or parser.truncated_at is not None:
                parser.truncated_at = size  # an offset in the stream would mean nothing in the file
                parser.note("the deflated stream is broken")
            return _finished(RawFile(meta, elements, buffer, inflated, order.little, syntax, parser, meta_parser))
        meta_parser.note("the deflated stream is broken")
    parser = Parser(buffer, limits)
    explicit, order = _encoding(buffer, pos, syntax)
    elements, _ = parser.elements(pos, size, explicit, order)
    return _finished(RawFile(meta, elements, buffer, buffer, order.little, syntax, parser, meta_parser))


def _finished(raw: RawFile) -> RawFile:
    """Settle where a cut file stopped, and refuse one without any element."""
    parser = raw.parser
    if not raw.meta and not raw.elements:
        raise NotDicom("The file is not DICOM: no data element can be read from it.")
    if parser.truncated_at is None:
        parser.truncated_at = raw.meta_parser.truncated_at
    if parser.truncated_at is None and parser.open_end:
        parser.truncated_at = len(raw.original)
    return raw


def _find_start(buffer: Readable, whole: bool) -> int | None:
    """Find the offset of the first element (of the file meta, or of a bare data set)."""
    size = len(buffer)
    end = size if whole else UNDEFINED
    at_prefix = size >= 132 and bytes(buffer[128:132]) == b"DICM"
    if at_prefix and _begins_meta(buffer, 132):
        return 132
    if bytes(buffer[:4]) == b"DICM" and (_begins_meta(buffer, 4) or _any_run(buffer, 4, end)):
        return 4
    # A data set without preamble may hold the letters DICM at 128: it is one if its elements run on past them.
    bare = _any_run(buffer, 0, end)
    if at_prefix and bare < 3 and _any_run(buffer, 132, end):
        return 132
    if bare:
        return 0
    head = bytes(buffer[:_HEAD])
    if head.startswith(_OTHER_FORMATS) or head[257:262] == b"ustar":
        return None  # an archive or a document may well hold DICOM files: it is none
    found = head.find(b"DICM")
    while found >= 0:
        if _begins_meta(buffer, found + 4) or _any_run(buffer, found + 4, end) > 1:
            return found + 4
        found = head.find(b"DICM", found + 1)
    return next((offset for offset in range(1, 9) if _any_run(buffer, offset, end) > 2), None)


def _begins_meta(buffer: Readable, pos: int) -> bool:
    """Return whether a file meta element stands here, in either encoding and byte order."""
    if len(buffer) - pos < 8:
        return False
    for order in (LITTLE, BIG):
        group, number, code, _ = order.explicit(buffer, pos)
        if group == 2 and (code in SHORT_VRS or code in LONG_VRS or order.long(buffer, pos + 4)[0] < 1024):
            return standard_vr(group << 16 | number) is not None or number >= 0x100
    return False


def _any_run(buffer: Readable, pos: int, end: int) -> int:
    """Return the longest run of sensible elements from here, over the encodings."""
    return max(_run(buffer, pos, end, explicit, order) for explicit in (True, False) for order in (LITTLE, BIG))


def _run(buffer: Readable, pos: int, end: int, explicit: bool, order: ByteOrder) -> int:
    """Count sensible elements in ascending order from here, to 8; 0 where the first two do not convince.

    `end` may lie beyond the buffer: then only its beginning is there.
    """
    count, last, size = 0, -1, len(buffer)
    strong = False
    while size - pos >= 8 and count < 8:
        group, number, code, length = order.explicit(buffer, pos)
        tag = group << 16 | number
        vr = standard_vr(tag) if not group & 1 else "UN"
        if tag <= last or vr is None or group > 0x7FE0 or (not count and (group & 1 or group > 0x0100)):
            break
        pos += 8
        if not explicit:
            length = order.long(buffer, pos - 4)[0]
        elif code in SHORT_VRS:
            strong = strong or code.decode() == vr
        elif code in LONG_VRS:
            if size - pos < 4:
                break
            strong = strong or code.decode() == vr
            length = order.long(buffer, pos)[0]
            pos += 4
        else:
            break
        if length == UNDEFINED and vr not in ("SQ", "UN"):
            break
        if length != UNDEFINED and pos + length > end:
            # The value is cut off: believable of an explicit VR that fits its tag.
            return count + 1 if (explicit and strong) or count else 0
        count, last = count + 1, tag
        if length == UNDEFINED:
            return count + 1
        pos += length
    if count > 1 or (count and explicit and strong):
        return count
    return 0


def _read_meta(parser: Parser, pos: int) -> tuple[list[Element], int]:
    """Read the elements of group 0002, whatever their group length says, unless it says where they end."""
    found: list[Element] = []
    buffer, size = parser.buffer, parser.size
    order = next((order for order in (LITTLE, BIG) if size - pos >= 8 and order.implicit(buffer, pos)[0] == 2), None)
    if order is None:
        return found, pos
    if not order.little:
        # Nobody may write it so (PS3.10 7.1); the values are text and lengths, and only the lengths suffer.
        parser.note("the file meta group is big endian")
    stated = None
    while size - pos >= 8 and order.implicit(buffer, pos)[0] == 2 and pos != stated:
        explicit = bytes(buffer[pos + 4 : pos + 6]) in SHORT_VRS or bytes(buffer[pos + 4 : pos + 6]) in LONG_VRS
        element, pos = parser.one(pos, explicit, order)
        if element is None:
            break
        found.append(element)
        if element[0] == _GROUP_LENGTH and element[3] == 4:
            stated = pos + order.long(buffer, element[2])[0]
    return found, pos


def _transfer_syntax(meta: list[Element], buffer: Readable) -> str | None:
    """Return the transfer syntax that the file meta names."""
    for tag, _, start, length, _payload in meta:
        if tag == _TRANSFER_SYNTAX:
            return bytes(buffer[start : start + min(length, 128)]).strip(b" \0").decode("latin-1") or None
    return None


def _encoding(buffer: Readable, pos: int, syntax: str | None) -> tuple[bool, ByteOrder]:
    """Return how the data set is written: as its transfer syntax says, unless its first elements say otherwise."""
    claimed = (syntax not in (IMPLICIT_LITTLE, GE_PRIVATE), BIG if syntax == EXPLICIT_BIG else LITTLE)
    size = len(buffer)
    if syntax is not None and _run(buffer, pos, size, *claimed):
        return claimed
    candidates = [(True, LITTLE), (False, LITTLE), (True, BIG), (False, BIG)]
    runs = [_run(buffer, pos, size, *candidate) for candidate in candidates]
    best = max(runs)
    if best:
        return candidates[runs.index(best)]
    return claimed if syntax is not None else (_has_vr(buffer, pos), LITTLE)


def _has_vr(buffer: Readable, pos: int) -> bool:
    """Return whether a VR stands where explicit VR has it."""
    code = bytes(buffer[pos + 4 : pos + 6])
    return code in SHORT_VRS or code in LONG_VRS
