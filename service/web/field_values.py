"""Values of header fields (RFC 9110, 5.6): lists, parameters, quoted strings and quality values.

Whoever sends a header chooses what is read here, on the event loop. Every expression below takes each character once:
a possessive quantifier (``++``, ``*+``) never gives back what it took, so no text makes it begin again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from service.errors import BadParameter

MAX_ELEMENTS = 100
"""Elements that a list may have."""

TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - the grammar's word

# A string that is never closed ends with the value.
_QUOTED = r'"(?:[^"\\]++|\\.)*+"?+'
_ELEMENT = re.compile(rf'(?:[^,"]++|{_QUOTED})++', re.DOTALL)
_PARAMETER = re.compile(rf'(?:[^;"]++|{_QUOTED})++', re.DOTALL)
_TEXT = re.compile(r'"((?:[^"\\]++|\\.)*+)', re.DOTALL)
_NAME = re.compile(TOKEN)
_QUALITY = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")


def parse_list(value: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Return the elements of a list, each as `parse_parameters` reads it; empty ones are passed over.

    Parameters
    ----------
    value : str
        The header's value, or several joined by commas.

    Raises
    ------
    BadParameter
        The list has more than `MAX_ELEMENTS`.
    """
    elements = (match[0] for match in _ELEMENT.finditer(value) if not match[0].isspace())
    for number, element in enumerate(elements):
        if number == MAX_ELEMENTS:
            raise BadParameter(f"A header may list at most {MAX_ELEMENTS} values.")
        yield parse_parameters(element)


def parse_parameters(value: str) -> tuple[str, dict[str, str]]:
    """Return what stands first in a value, in lower case, and its parameters: names in lower case, values unquoted.

    Of several parameters with one name the first counts. A parameter without a name or a value is passed over.

    Parameters
    ----------
    value : str
        For example ``form-data; name="body"; filename="CT.dcm"``.
    """
    first, _, rest = value.partition(";")
    parameters: dict[str, str] = {}
    for parameter in _PARAMETER.findall(rest):
        name, equals, text = parameter.partition("=")
        name = name.strip().lower()
        if equals and _NAME.fullmatch(name):
            parameters.setdefault(name, _unquote(text.strip()))
    return first.strip().lower(), parameters


def quality_of(parameters: Mapping[str, str]) -> float | None:
    """Return the quality value of an element (RFC 9110, 12.4.2): 0 to 1, and 1 by default; None if it is malformed."""
    text = parameters.get("q", "1")
    return float(text) if _QUALITY.fullmatch(text) else None


def _unquote(text: str) -> str:
    quoted = _TEXT.match(text)
    # Browsers escape nothing but the quote in a file name; a backslash is part of it, and all else is kept.
    return text if quoted is None else quoted[1].replace('\\"', '"')
