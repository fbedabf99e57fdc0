"""What a search asks, as data: a path, and what must hold for the values there.

The attribute matching of PS3.4 C.2.2.2 as QIDO-RS has it (PS3.18 8.3.4), and beyond it absent, present, numeric ranges,
and any path. A condition becomes a filter of the index in `index_filter`, and is tried on a tree in `on_tree`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from service.dicom.paths import Step, TagPath, index_key, tag_path_text


@dataclass(frozen=True, slots=True)
class Absent:
    """The path is not there."""


@dataclass(frozen=True, slots=True)
class Present:
    """The path is there, empty or not."""


@dataclass(frozen=True, slots=True)
class Empty:
    """The path is there and has no value (PS3.4 C.2.2.2.7); of a sequence, none of those there has an item."""

    sequence: bool = False


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of the values is one of these: a single value (PS3.4 C.2.2.2.1), a list of UIDs or of values.

    Numbers are Python's own, however large: the index has those past 64 bits in a type of its own.
    """

    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Like:
    """One of the values fits a regular expression that begins with ``^`` (wildcards, PS3.4 C.2.2.2.4; names)."""

    pattern: str
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class Word:
    """One of the words of the names begins like this: fuzzy matching (PS3.18 8.3.4.2), one test for each word."""

    prefix: str


@dataclass(frozen=True, slots=True)
class WordLike:
    """One of the words of the names fits a regular expression: fuzzy matching of a word with wildcards."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Between:
    """One value is a number from `low` to `high`, both included; None: no end."""

    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class During:
    """One value is a text from `low` on and before `end` (PS3.4 C.2.2.2.5).

    A stored value counts as the moment at which it begins, as it does for DCMTK: 10 is 10:00:00.

    Parameters
    ----------
    low, end : str
        `low` is written as shortly as its moment can be, so that no text of the same moment sorts before it. `end` lies
        behind the last moment that the range still covers. An open range has the ends of all digits.
    first, last : str or None
        The ends as they were asked, to be put together with those of a time.
    """

    low: str
    end: str
    first: str | None = None
    last: str | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """A date and the time beside it, put together, lie from `low` on and before `end` (PS3.4 C.2.2.2.5).

    Parameters
    ----------
    time : Step
        The time; the condition's path is that of the date.
    dates : During
        What the date alone must be.
    low, end : str
        As of `During`, of the two texts put together.
    """

    time: Step
    dates: During
    low: str
    end: str


@dataclass(frozen=True, slots=True)
class Either:
    """All tests hold of at least one of these groups."""

    groups: tuple[tuple[Test, ...], ...]


Test = Absent | Present | Empty | OneOf | Like | Word | WordLike | Between | During | Moment | Either


@dataclass(frozen=True, slots=True)
class Condition:
    """A test on the values of a path.

    Parameters
    ----------
    path : tuple of Step
        A step into a sequence without the number of an item means every item.
    test : Test
        What must hold.
    """

    path: TagPath
    test: Test

    @property
    def key(self) -> str:
        """The path as a key of the index."""
        return index_key(self.path)

    @property
    def text(self) -> str:
        """The path as HTTP has it."""
        return tag_path_text(self.path)

    @property
    def paths(self) -> tuple[TagPath, ...]:
        """All paths whose values the test looks at."""
        if isinstance(self.test, Moment):
            return (self.path, (*self.path[:-1], self.test.time))
        return (self.path,)


@dataclass(frozen=True, slots=True)
class Options:
    """How values are read (PS3.18 8.3.4).

    Parameters
    ----------
    fuzzy : bool
        ``fuzzymatching``: a person name matches by the beginnings of its words, or by words with wildcards.
    empty : bool
        ``emptyvaluematching``: ``""`` matches what is there without a value.
    multiple : bool
        ``multiplevaluematching``: a backslash divides values of which one must match.
    standard : bool
        Only what the Standard has: no ``!``, ``!!`` and numeric ranges, and a value that its VR cannot have is refused.
    """

    fuzzy: bool = False
    empty: bool = True
    multiple: bool = False
    standard: bool = False
