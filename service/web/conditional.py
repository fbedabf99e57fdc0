"""Conditional and range requests (RFC 9110, 13 and 14) as pure functions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_RANGE = re.compile(r"bytes\s*+=\s*+(?:(\d{1,18})\s*+-\s*+(\d{1,18})?|-\s*+(\d{1,18}))", re.ASCII | re.IGNORECASE)


class Unsatisfiable(Exception):
    """The range begins behind the end."""


@dataclass(frozen=True, slots=True)
class Validators:
    """What tells one version of a representation from another.

    Parameters
    ----------
    etag : str
        Strong, with its quotes.
    modified : datetime
        Aware.
    """

    etag: str
    modified: datetime

    @property
    def last_modified(self) -> str:
        """The value of `Last-Modified`."""
        return format_datetime(self.modified.astimezone(UTC).replace(microsecond=0), usegmt=True)


def is_unchanged(validators: Validators, if_none_match: str | None, if_modified_since: str | None) -> bool:
    """Return whether the caller has this version already, and 304 says all; an entity tag outranks a date.

    Parameters
    ----------
    validators : Validators
        Of the current version.
    if_none_match, if_modified_since : str or None
        The headers of the request.
    """
    if if_none_match is not None:
        if if_none_match.strip() == "*":
            return True
        current = validators.etag.removeprefix("W/").strip('"')
        return any(match[2] == current for match in _TAG.finditer(if_none_match))
    since = _date(if_modified_since)
    return since is not None and validators.modified.replace(microsecond=0) <= since


def is_expected(validators: Validators | None, if_match: str | None, if_unmodified_since: str | None) -> bool:
    """Return whether what is there is what the caller means (RFC 9110, 13.1.1 and 13.1.4); a tag outranks a date.

    Parameters
    ----------
    validators : Validators or None
        Of the current version; None where what is meant has none, as a study has.
    if_match, if_unmodified_since : str or None
        The headers of the request.
    """
    if if_match is not None:
        if if_match.strip() == "*":
            return True
        return validators is not None and any(match[0] == validators.etag for match in _TAG.finditer(if_match))
    since = _date(if_unmodified_since)
    return since is None or validators is None or validators.modified.replace(microsecond=0) <= since


def requested_range(
    validators: Validators, length: int, range_header: str | None, if_range: str | None
) -> tuple[int, int] | None:
    """Return the part that is asked for, or None for the whole.

    Several ranges at once, other units and what cannot be read are answered with the whole, as RFC 9110, 14.2 allows.

    Parameters
    ----------
    validators : Validators
        Of the current version.
    length : int
        Bytes of the whole.
    range_header, if_range : str or None
        The headers of the request.

    Returns
    -------
    tuple of (int, int) or None
        The first byte, and the one behind the last.

    Raises
    ------
    Unsatisfiable
        Where nothing of the whole lies in the range.
    """
    match = _RANGE.fullmatch(range_header.strip()) if range_header is not None else None
    if match is None or not _range_applies(validators, if_range):
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        if int(suffix) == 0:
            raise Unsatisfiable
        return max(0, length - int(suffix)), length
    if last is not None and int(last) < int(first):
        return None
    if int(first) >= length:
        raise Unsatisfiable
    return int(first), length if last is None else min(int(last) + 1, length)


def _range_applies(validators: Validators, if_range: str | None) -> bool:
    if if_range is None:
        return True
    if (match := _TAG.fullmatch(if_range.strip())) is not None:
        # A weak tag says nothing of bytes (RFC 9110, 13.1.5).
        return match[1] is None and f'"{match[2]}"' == validators.etag
    date = _date(if_range)
    return date is not None and date == validators.modified.replace(microsecond=0)


def _date(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):  # the last of a year or a zone of twenty digits
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)
