"""Which representation a caller gets: `Accept` with its parameters and quality values (RFC 9110, 12.5.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from aiohttp import hdrs, web

from service.errors import Invalid, NotAcceptable
from service.web.field_values import TOKEN, parse_list, parse_parameters, quality_of

DICOM = "application/dicom"
PNG = "image/png"
JSON = "application/json"
DICOM_JSON = "application/dicom+json"
MULTIPART = "multipart/related"

ANY = "*"
_TYPE = re.compile(f"({TOKEN})/({TOKEN})")


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One element of `Accept`.

    Parameters
    ----------
    type, subtype : str
        In lower case; ``*`` for any.
    parameters : mapping of str to str
        Names in lower case, values unquoted; without ``q``.
    quality : float
        0 to 1.
    """

    type: str
    subtype: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    quality: float = 1.0

    @property
    def narrowness(self) -> int:
        """How much is said of the media type; 0 for ``*/*``."""
        return (self.type != ANY) + (self.subtype != ANY) + len(self.parameters)


MAX_REMEMBERED = 256
"""Characters of the longest `Accept` that is remembered."""

ANYTHING = MediaRange(ANY, ANY)


@dataclass(frozen=True, slots=True)
class Offer:
    """A representation that the service can send.

    Parameters
    ----------
    media_type : str
        Of the body, or of each part.
    multipart : bool
        Whether the body is a ``multipart/related``.
    transfer_syntaxes : frozenset of str or None
        The transfer syntaxes that fit; None where any does, because the type has none.
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

    def fits(self, wanted: MediaRange) -> bool:
        """Return whether a media range lets this in (PS3.18 8.7)."""
        if wanted.type == ANY:
            return True
        inner = f"{wanted.type}/{wanted.subtype}"
        if wanted.type == "multipart":
            if not self.multipart or wanted.subtype not in ("related", ANY):
                return False
            inner = wanted.parameters.get("type", "*/*").lower()
        elif self.multipart:
            return False
        kind, _, subtype = inner.partition("/")
        offered_kind, _, offered_subtype = self.media_type.lower().partition("/")
        if kind not in (ANY, offered_kind) or subtype not in (ANY, "", offered_subtype):
            return False
        syntax = wanted.parameters.get("transfer-syntax")
        if syntax is None:
            return self.default_syntax or inner == "*/*"
        if syntax == ANY:
            return self.stored
        return self.transfer_syntaxes is None or syntax in self.transfer_syntaxes


INSTANCE_OFFERS = (Offer(DICOM), Offer(PNG), Offer(JSON))
"""The original, its picture, and what the store knows of it."""


def accept_header(request: web.Request) -> str | None:
    """Return the value of a request's `Accept` headers, or None where there is none."""
    return ", ".join(request.headers.getall(hdrs.ACCEPT, ())) or None


def parse_accept(value: str) -> list[MediaRange]:
    """Return the media ranges of an `Accept` header; an element that is none is passed over.

    Raises
    ------
    BadParameter
        The list is too long.
    """
    ranges = []
    for text, parameters in parse_list(value):
        match = _TYPE.fullmatch(text)
        quality = quality_of(parameters)
        if match is None or quality is None or (match[1] == ANY and match[2] != ANY):
            continue
        parameters.pop("q", None)
        ranges.append(MediaRange(match[1], match[2], parameters, quality))
    return ranges


def preferred(accept: str | None, offers: Sequence[Offer]) -> tuple[list[Offer], bool]:
    """Return the offers that a caller likes best, and whether the caller named them.

    Clients send the same few headers again and again: what a short one means is remembered.

    Parameters
    ----------
    accept : str or None
        The value of `Accept`; None is ``*/*``.
    offers : sequence of Offer
        What there is, the preferred one first.
    """
    judge = _judge_again if accept is None or len(accept) <= MAX_REMEMBERED else _judge
    liked, named = judge(accept, tuple(offers))
    return list(liked), named


def _judge(accept: str | None, offers: tuple[Offer, ...]) -> tuple[tuple[Offer, ...], bool]:
    """Return what `preferred` returns.

    The narrowest range that an offer fits says how much it is liked. Of those that are liked best, the ones that only
    ``*/*`` lets in give way to the others. They come in the order in which `Accept` names them, then in that of
    the offers.
    """
    ranges = parse_accept(accept or "") or [ANYTHING]
    liked: dict[Offer, tuple[float, bool, int]] = {}
    for offer in offers:
        fitting = [place for place, wanted in enumerate(ranges) if offer.fits(wanted)]
        if fitting:
            place = max(fitting, key=lambda place: (ranges[place].narrowness, ranges[place].quality))
            if ranges[place].quality > 0:
                liked[offer] = ranges[place].quality, ranges[place].type != ANY, -place
    best = max((rank[:2] for rank in liked.values()), default=(0.0, False))
    found = [offer for offer, rank in liked.items() if rank[:2] == best]
    return tuple(sorted(found, key=lambda offer: -liked[offer][2])), best[1]


_judge_again = lru_cache(256)(_judge)


def choose(accept: str | None, offers: Sequence[Offer]) -> Offer:
    """Return the offer that fits best; without an `Accept`, and to ``*/*``, the first.

    Parameters
    ----------
    accept, offers
        As `preferred` takes them.

    Raises
    ------
    NotAcceptable
        None fits. The sentence names what there is.
    """
    found, _ = preferred(accept, offers)
    if not found:
        raise _not_acceptable(offers)
    return found[0]


def takes_gzip(request: web.Request) -> bool:
    """Return whether the caller asks for gzip (RFC 9110, 12.5.3)."""
    codings = dict(parse_list(", ".join(request.headers.getall(hdrs.ACCEPT_ENCODING, ()))))
    return any(quality_of(codings[name]) for name in ("gzip", "x-gzip") if name in codings)


def choose_representation(accept: str | None, content_type: str | None) -> str:
    """Return the media type of an instance: the original, its picture, or what the store knows of it.

    A narrower `Accept` wins. One of ``*/*``, or none, leaves the choice to the request's `content-type`, and where
    there is none either, it is the original.

    Parameters
    ----------
    accept, content_type : str or None
        The headers of the request.

    Raises
    ------
    NotAcceptable
        Where `Accept` takes none of them.
    Invalid
        Where `content-type` has the choice, and is another type.
    """
    found, named = preferred(accept, INSTANCE_OFFERS)
    if not found:
        raise _not_acceptable(INSTANCE_OFFERS)
    asked, _ = parse_parameters(content_type or "")
    if named or not asked:
        return found[0].media_type
    if asked not in {DICOM, PNG}:
        raise Invalid(f"The Content-Type of this request must be {DICOM} or {PNG}.")
    if all(offer.media_type != asked for offer in found):
        raise NotAcceptable(f"The Content-Type asks for {asked}, but the Accept header does not allow it.")
    return asked


def _not_acceptable(offers: Sequence[Offer]) -> NotAcceptable:
    sentence = f"The available media types are: {', '.join(dict.fromkeys(map(str, offers)))}."
    syntaxes = sorted(set().union(*(offer.transfer_syntaxes or () for offer in offers)))
    if syntaxes:
        sentence += f" The available transfer syntaxes are: {', '.join(syntaxes)}."
    return NotAcceptable(sentence)
