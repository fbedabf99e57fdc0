"""Which media type a DICOMweb answer has (PS3.18 8.7): multipart or not, and in which transfer syntax."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import hdrs, web

from service.errors import NotAcceptable
from service.web.negotiation import MediaRange, parse_accept

ANY = "*"
MULTIPART = "multipart/related"
OCTETS = "application/octet-stream"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"

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


@dataclass(frozen=True, slots=True)
class Offer:
    """Something that can be given.

    Parameters
    ----------
    media_type : str
        Of the body, or of each part.
    multipart : bool
        Whether parts stand in a ``multipart/related``.
    transfer_syntaxes : frozenset of str or None
        The transfer syntaxes in which it comes; None where that says nothing.
    stored : bool
        Whether ``transfer-syntax=*`` fits, because it is as it is stored.
    default_syntax : bool
        Whether it fits where the type is named and no transfer syntax is.
    """

    media_type: str
    multipart: bool = False
    transfer_syntaxes: frozenset[str] | None = None
    stored: bool = True
    default_syntax: bool = True

    def __str__(self) -> str:
        """Return it as a header would have it."""
        return f'{MULTIPART}; type="{self.media_type}"' if self.multipart else self.media_type


def accept_of(request: web.Request) -> str | None:
    """Return what a request accepts: its `accept` parameter (PS3.18 8.3.3.1), or its header."""
    # A plus sign that was not escaped arrives as a space.
    named = ", ".join(
        value.replace(" ", "+") if "," not in value else value for value in request.query.getall("accept", ())
    )
    return named or ", ".join(request.headers.getall(hdrs.ACCEPT, ())) or None


def choose_offer(accept: str | None, offers: Sequence[Offer]) -> Offer:
    """Return the offer that fits best; without an Accept, and to ``*/*``, the first.

    Parameters
    ----------
    accept : str or None
        The value of `Accept`.
    offers : sequence of Offer
        What there is, the preferred first.

    Raises
    ------
    NotAcceptable
        None fits. The sentence names what there is.
    """
    ranges = parse_accept(accept or "") or [MediaRange("*", "*")]
    best: tuple[float, int] | None = None
    chosen = None
    for offer in offers:
        fitting = [place for place, wanted in enumerate(ranges) if _fits(wanted, offer)]
        if fitting:
            # The narrowest range says how much an offer is liked (RFC 9110, 12.5.1); among equals, what is named first.
            place = max(fitting, key=lambda place: (_narrowness(ranges[place]), ranges[place].quality))
            rated = ranges[place].quality, -place
            if rated[0] > 0 and (best is None or rated > best):
                best, chosen = rated, offer
    if chosen is not None:
        return chosen
    names = list(dict.fromkeys(str(offer) for offer in offers))
    syntaxes = sorted(set().union(*(offer.transfer_syntaxes or () for offer in offers)))
    there = f" Transfer syntaxes: {', '.join(syntaxes)}." if syntaxes else ""
    raise NotAcceptable(f"What can be given is: {', '.join(names)}.{there}")


def image_types(transfer_syntax_uid: str) -> tuple[str, ...]:
    """Return the image types of a compressed frame; none where it has none."""
    if transfer_syntax_uid == RLE_LOSSLESS:
        return ("image/dicom-rle", "image/x-dicom-rle")
    if not transfer_syntax_uid.startswith(_COMPRESSED):
        return ()
    return IMAGE_TYPES.get(transfer_syntax_uid.removeprefix(_COMPRESSED), ())


def _narrowness(wanted: MediaRange) -> int:
    return (wanted.type != ANY) + (wanted.subtype != ANY) + len(wanted.parameters)


def _fits(wanted: MediaRange, offer: Offer) -> bool:
    if wanted.type == ANY:
        return True
    syntax = wanted.parameters.get("transfer-syntax")
    if wanted.type == "multipart":
        inner = wanted.parameters.get("type", "*/*").lower()
        if not offer.multipart or wanted.subtype not in ("related", ANY):
            return False
    else:
        inner = f"{wanted.type}/{wanted.subtype}"
        if offer.multipart:
            return False
    kind, _, subtype = inner.partition("/")
    offered_kind, _, offered_subtype = offer.media_type.partition("/")
    if kind not in (ANY, offered_kind) or subtype not in (ANY, "", offered_subtype):
        return False
    if syntax is None:
        return offer.default_syntax or inner == "*/*"
    if syntax == ANY:
        return offer.stored
    return offer.transfer_syntaxes is None or syntax in offer.transfer_syntaxes
