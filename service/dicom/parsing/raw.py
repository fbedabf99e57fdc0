"""What the reader finds: elements as they lie in a file, not yet converted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from service.dicom.limits import Readable

ENCAPSULATED = "encapsulated"

Element = tuple[int, str, int, int, Any]
"""(tag, VR, offset of the value, its length, payload).

The payload is None for a value, `Items` for a sequence, `ENCAPSULATED` for fragments. A VR may be one of the
dictionary's choices, such as "US or SS": the reader does not know the context that settles it.
"""


class Items(list[list[Element]]):
    """The items of a sequence, each a list of elements; `little` says how their values are ordered."""

    __slots__ = ("little",)

    def __init__(self, little: bool) -> None:
        super().__init__()
        self.little = little


@dataclass(slots=True)
class Creators:
    """The private creators of one data set, found as its elements are read (PS3.5 7.8.1)."""

    names: dict[int, str] = field(default_factory=dict)
    seen: int = 0

    def of(self, tag: int, buffer: Readable, found: list[Element]) -> str | None:
        """Return the private creator of an element; `found` are the elements before it."""
        for index in range(self.seen, len(found)):
            other, _, start, length, _payload = found[index]
            if (other >> 16) & 1 and 0x10 <= other & 0xFFFF <= 0xFF and length <= 64:
                name = buffer[start : start + length].strip(b" \0").decode("latin-1")
                self.names.setdefault((other >> 16 << 8) | (other & 0xFF), name)
        self.seen = len(found)
        return self.names.get(tag >> 8)
