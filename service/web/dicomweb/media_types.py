"""The media types of DICOMweb (PS3.18 8.7): what a request accepts, and what images of compressed frames are called."""

from __future__ import annotations

import re

from aiohttp import web

from service.web.negotiation import accept_header

OCTETS = "application/octet-stream"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
NOT_FOR_WEB = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.2"})
"""The transfer syntaxes that nobody may ask a web service for (PS3.18 8.7.3)."""

IMAGE_TYPES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("50", "51", "57", "70"), ("image/jpeg",)),
    **dict.fromkeys(("80", "81"), ("image/jls", "image/x-jls")),
    **dict.fromkeys(("90", "91"), ("image/jp2",)),
    **dict.fromkeys(("92", "93"), ("image/jpx",)),
    **dict.fromkeys(("110", "111", "112"), ("image/jxl",)),
    **dict.fromkeys(("201", "202", "203"), ("image/jphc", "image/jph")),
}
"""The image types of compressed frames by the last component of their transfer syntax (PS3.18 Table 8.7.3-2)."""

RLE_LOSSLESS = "1.2.840.10008.1.2.5"
_COMPRESSED = "1.2.840.10008.1.2.4."
_LOST_PLUS = re.compile(r"(?<=[0-9A-Za-z]) (?=[0-9A-Za-z])")


def accept_of(request: web.Request) -> str | None:
    """Return what a request accepts: its `accept` parameter (PS3.18 8.3.3.1), or its header."""
    # A plus sign that was not escaped arrives as a space.
    return _LOST_PLUS.sub("+", ", ".join(request.query.getall("accept", ()))) or accept_header(request)


def image_types(transfer_syntax_uid: str) -> tuple[str, ...]:
    """Return the image types of a compressed frame; none where it has none."""
    if transfer_syntax_uid == RLE_LOSSLESS:
        return ("image/dicom-rle", "image/x-dicom-rle")
    if not transfer_syntax_uid.startswith(_COMPRESSED):
        return ()
    return IMAGE_TYPES.get(transfer_syntax_uid.removeprefix(_COMPRESSED), ())
