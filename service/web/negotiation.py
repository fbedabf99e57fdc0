"""Which representation a caller gets: `Accept` with its q values (RFC 9110, 12.5.1), and the older `content-type`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from service.errors import Invalid, NotAcceptable

DICOM = "application/dicom"
PNG = "image/png"
JSON = "application/json"
DICOM_JSON = "application/dicom+json"

_ELEMENT = re.compile(r"""(?:[^,"]|"(?:[^"\\]|\\.)*")+""")
_PARAMETER = re.compile(r"""(?:[^;"]|"(?:[^"\\]|\\.)*")+""")
_TYPE = re.compile(r"([!#$%&'*+.^_`|~\w-]+)/([!#$%&'*+.^_`|~\w-]+)", re.ASCII)
_QUALITY = re.compile(r"(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)", re.ASCII)


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One element of `Accept`.

    Parameters
    ----------
    type, subtype : str
        In lower case; ``*`` for any.
    parameters : dict of str to str
        Without ``q``; names in lower case, values unquoted.
    quality : float
        0 to 1.
    """

    type: str
    subtype: str
    parameters: dict[str, str] = field(default_factory=dict)
    quality: float = 1.0

    def specificity(self, offered: str) -> int:
        """Return how closely this fits an offered type: 2 the type, 1 its kind, 0 anything, -1 not at all."""
        kind, _, subtype = offered.partition("/")
        if self.type == "*":
            return 0
        if self.type != kind:
            return -1
        if self.subtype == "*":
            return 1
        return 2 if self.subtype == subtype else -1


def parse_accept(text: str) -> list[MediaRange]:
    """Read the value of an `Accept` header; an element that is none is passed over.

    Parameters
    ----------
    text : str
        The header's value, or several joined by commas.
    """
    ranges = []
    for element in _ELEMENT.findall(text):
        parts = _PARAMETER.findall(element)
        match = _TYPE.fullmatch(parts[0].strip()) if parts else None
        if match is None or (match[1] == "*" and match[2] != "*"):
            continue
        values: dict[str, str] = {}
        for parameter in parts[1:]:
            key, equals, value = parameter.partition("=")
            if equals:
                values.setdefault(key.strip().lower(), _unquote(value.strip()))
        quality = values.pop("q", "1")
        if _QUALITY.fullmatch(quality):
            ranges.append(MediaRange(match[1].lower(), match[2].lower(), values, float(quality)))
    return ranges


def _unquote(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value


def acceptable(accept: str | None, offered: Sequence[str]) -> tuple[list[str], bool]:
    """Return the offered types that a caller likes best, in the order of the offer.

    Parameters
    ----------
    accept : str or None
        The value of `Accept`; None where there is none.
    offered : sequence of str
        The types there are, the preferred one first.

    Returns
    -------
    types : list of str
        Those with the highest quality; empty where none is acceptable.
    named : bool
        Whether the caller named them, or their kind; False where only ``*/*`` let them in.
    """
    ranges = parse_accept(accept or "") or [MediaRange("*", "*")]
    rated: dict[str, tuple[float, int]] = {}
    for media_type in offered:
        fitting = [each for each in ranges if each.specificity(media_type) >= 0]
        if fitting:
            closest = max(fitting, key=lambda each: each.specificity(media_type))
            rated[media_type] = closest.quality, closest.specificity(media_type)
    best = max((quality for quality, _ in rated.values()), default=0.0)
    if best == 0:
        return [], False
    likes = [media_type for media_type, (quality, _) in rated.items() if quality == best]
    named = [media_type for media_type in likes if rated[media_type][1] > 0]
    return (named, True) if named else (likes, False)


def choose(accept: str | None, offered: Sequence[str]) -> str:
    """Return the type to answer with.

    Raises
    ------
    NotAcceptable
        Where the caller accepts none of them.
    """
    types, _ = acceptable(accept, offered)
    if not types:
        raise NotAcceptable(f"What can be given is: {', '.join(offered)}.")
    return types[0]


def choose_document(accept: str | None, content_type: str | None) -> str:
    """Return the representation of an instance: the original, its picture, or what the store knows of it.

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
    offered = (DICOM, PNG, JSON)
    types, named = acceptable(accept, offered)
    if not types:
        raise NotAcceptable(f"What can be given is: {', '.join(offered)}.")
    asked = (content_type or "").partition(";")[0].strip().lower()
    if named or not asked:
        return types[0]
    if asked not in {DICOM, PNG}:
        raise Invalid(f"As content-type, a request for an instance names {DICOM} or {PNG}.")
    if asked not in types:
        raise NotAcceptable(f"The request's content-type is {asked}, which its Accept does not take.")
    return asked
