"""Tag paths: how people name an element, and where it stands in a tree.

A path is a chain of steps into sequences, with ``.`` between them. One notation serves everywhere; what a path means
where a step has no number of an item depends on who asks:

============= =========================================== ===================================================
a tag path    ``ReferencedImageSequence[0].00081155``     one element; without a number that of the one item
                                                          which has it
a search path ``ReferencedImageSequence.00081155``        all elements there, over all items; with numbers those
                                                          of these items; ``/`` divides steps as well
an index key  ``ReferencedImageSequence/Referenced...``   all elements there as a field of a document, where a
                                                          dot would be a level; never with numbers
============= =========================================== ===================================================

A step is ``00081140``, ``0008,1140``, ``(0008,1140)``, a keyword, or ``CREATOR:ggggxxEE`` for a private element,
whatever block its creator has reserved; it is divided at the last colon. An item has its number behind the step, in
brackets, counted from 0. The keyword of a repeating group (``OverlayRows``) stands for its first group. In a creator
every character but ASCII letters, digits, space, ``_``, ``-`` and ``:`` is percent-escaped as UTF-8. A creator is also
taken as it is (``1.2/X:0009xx01``) where the text has no meaning with escapes; where it has one, that one holds.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import unquote

from service.dicom.dictionary import KEYWORD_TAGS, REPEATING_TAGS, element_key, tag_of_key
from service.dicom.private import FIRST_BLOCK, LAST_BLOCK, creator_key, creator_of, creator_text, is_private_data
from service.errors import Invalid, NotFound

MAX_TEXT = 8192
MAX_STEPS = 65
"""64 nested sequences are as deep as a file may be, and an element in the innermost."""

MAX_ITEM = 2**31 - 1
"""The largest position that MongoDB's $arrayElemAt takes; no sequence has so many items."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a path.

    Parameters
    ----------
    tag : int
        The tag; for a private element named by its creator (gggg,00EE), as its block differs from file to file.
    creator : str or None
        The private creator, unescaped and trimmed.
    item : int or None
        The number of the item to step into, from 0.
    """

    tag: int
    creator: str | None = None
    item: int | None = None


TagPath = tuple[Step, ...]


class Located(NamedTuple):
    """An element that a path led to: its tag, itself, and its private creator if it has one."""

    tag: int
    element: Mapping[str, Any]
    creator: str | None


# Two words or more, each with its capital; one alone may be a name. Without digits: with them it may be a secret.
_LIKE_KEYWORD = re.compile(r"(?=.{1,64}\Z)[A-Z]+[a-z]+[A-Z][A-Za-z]*")


class UnknownKeyword(Invalid):
    """A word of a path is no keyword of the DICOM dictionary.

    Parameters
    ----------
    word : str
        Letters and digits. It is repeated where it could be a misspelled keyword, and nothing else of the path is: what
        stands in the wrong place may be a patient's name.
    meant : str or None
        The keyword that differs in nothing but the case of its letters.
    """

    def __init__(self, word: str, meant: str | None) -> None:
        near = None if meant else _near_keyword(word)
        shown = f": `{word}`" if near or _LIKE_KEYWORD.fullmatch(word) else ""
        meant = meant or near
        super().__init__(f"Unknown DICOM keyword{shown}." + (f" Did you mean `{meant}`?" if meant else ""))


class BelowSpilled(Exception):
    """The path leads below a sequence that the document has left in the original file."""


# --- text to path -------------------------------------------------------------------------------------------------

_END = r"(?:\[(?P<item>[0-9]+)\])?(?=\.|\Z)"
_PUBLIC = re.compile(
    r"(?:\((?P<g1>[0-9A-Fa-f]{4}),(?P<e1>[0-9A-Fa-f]{4})\)"
    r"|(?P<g2>[0-9A-Fa-f]{4}),(?P<e2>[0-9A-Fa-f]{4})"
    r"|(?P<hex>[0-9A-Fa-f]{8})"
    r"|(?P<word>[A-Za-z][A-Za-z0-9]*))" + _END
)
_PRIVATE_END = r":(?P<group>[0-9A-Fa-f]{4})[xX]{2}(?P<element>[0-9A-Fa-f]{2})" + _END
_PRIVATE = re.compile(r"(?P<creator>(?:[A-Za-z0-9 _:-]|%[0-9A-Fa-f]{2})+)" + _PRIVATE_END)
_LITERAL_END = re.compile(_PRIVATE_END)
_DOT = re.compile(r"\.")
_BLANK = re.compile(r"[ \0]*")


@lru_cache(256)
def parse_tag_path(text: str) -> TagPath:
    """Read the path of one element.

    Parameters
    ----------
    text : str
        The path as HTTP has it, percent-decoded once.

    Returns
    -------
    tuple of Step
        A step into a sequence without the number of an item means the one item that has the element.

    Raises
    ------
    Invalid
        The text is no path, a word in it is neither a tag nor a keyword, or the last step has the number of an item (a
        path names an element; an item is no element).
    NotFound
        An item number is larger than any sequence is long.
    """
    return _without_last_item(_parse(text))


def parse_search_path(text: str) -> TagPath:
    """Read a path of a search: all elements there, over all items of a sequence whose step has no number of one.

    Its steps may be divided by ``/`` too, as in the keys of the index.

    Raises
    ------
    Invalid, NotFound
        As `parse_tag_path`.
    """
    return _without_last_item(_parse(text, slashes=True))


def parse_index_path(text: str) -> TagPath:
    """Read a path of the index: all elements there, whatever the items.

    Raises
    ------
    Invalid
        The text is no path, a word in it is neither a tag nor a keyword, or a step has an item number.
    """
    path = _parse(text, slashes=True)
    if any(step.item is not None for step in path):
        raise Invalid("A path that is sorted by has no item numbers: it means every item.")
    return path


def _without_last_item(path: TagPath) -> TagPath:
    if path[-1].item is not None:
        raise Invalid("The last step of a tag path names a whole element: leave out its item number.")
    return path


_PIECES = re.compile(
    r"\([^(),]*,[^(),]*\)|(?<![0-9A-Fa-f])[0-9A-Fa-f]{4},[0-9A-Fa-f]{4}(?![0-9A-Fa-f])|,|[^,(0-9A-Fa-f]+|[\s\S]"
)


def split_paths(text: str) -> list[str]:
    """Divide a list of paths at its commas, but not at those within ``(0008,0060)`` and ``0008,0060``."""
    paths: list[list[str]] = [[]]
    for match in _PIECES.finditer(text):
        if match[0] == ",":
            paths.append([])
        else:
            paths[-1].append(match[0])
    return [path for path in ("".join(pieces).strip(" ") for pieces in paths) if path]


def _parse(text: str, *, slashes: bool = False) -> TagPath:
    if not text:
        raise Invalid("The tag is missing.")
    if len(text) > MAX_TEXT:
        raise Invalid(f"A tag path has at most {MAX_TEXT} characters.")
    try:
        path = _parse_escaped(text)
    except Invalid:
        divided = _parse_divided_by_slashes(text) if slashes and "/" in text else None
        literal = divided or (_parse_literal(text) if ":" in text else None)
        if literal is None:
            raise
        path = literal
    if len(path) > MAX_STEPS:
        raise Invalid(f"A tag path has at most {MAX_STEPS} steps.")
    return path


def _parse_divided_by_slashes(text: str) -> TagPath | None:
    """Read a path with the slashes of an index key; no step with escapes has one of its own."""
    with suppress(Invalid):
        return _parse_escaped(text.replace("/", "."))
    return None


def _parse_escaped(text: str) -> TagPath:
    steps: list[Step] = []
    position = 0
    while True:
        if match := _PUBLIC.match(text, position):
            steps.append(_public_step(match))
        elif match := _PRIVATE.match(text, position):
            try:
                creator = unquote(match["creator"], errors="strict")
            except UnicodeDecodeError:
                raise Invalid("The escapes of a private creator are not UTF-8.") from None
            steps.append(_private_step(creator, match))
        else:
            raise Invalid(
                f"Step {len(steps) + 1} of the tag path cannot be read. A tag is written 00081140, 0008,1140, "
                "(0008,1140), as a keyword, or as CREATOR:ggggxxEE; a path as ReferencedImageSequence[0].00081155."
            )
        position = match.end() + 1
        if position > len(text):
            return tuple(steps)


def _parse_literal(text: str) -> TagPath | None:
    """Read a path whose creators may hold any character: public steps first, then the nearest ``:ggggxxEE``.

    It is read from its end, so that each place is looked at once: a step counts where the rest is known to be a path.
    """
    ends = [end for end in _LITERAL_END.finditer(text) if int(end["group"], 16) & 1]
    usable: list[re.Match[str]] = []
    first_steps: dict[int, re.Match[str]] = {}

    def leads_on(step: re.Match[str]) -> bool:
        return step.end() == len(text) or step.end() + 1 in first_steps

    for start in reversed([0, *(dot.end() for dot in _DOT.finditer(text))]):
        while ends and ends[-1].start() >= start:
            if leads_on(ends[-1]):
                usable.append(ends[-1])
            ends.pop()
        public = _PUBLIC.match(text, start)
        if public is not None and _is_known(public["word"]) and leads_on(public):
            first_steps[start] = public
            continue
        creator = _BLANK.match(text, start)
        assert creator is not None  # noqa: S101 - it matches nothing too
        nearest = next((end for end in usable[:-3:-1] if end.start() > creator.end()), None)
        if nearest is not None:
            first_steps[start] = nearest

    path: list[Step] = []
    position = 0
    while (step := first_steps.get(position)) is not None:
        is_public = step.re is _PUBLIC
        path.append(_public_step(step) if is_public else _private_step(text[position : step.start()], step))
        position = step.end() + 1
    return tuple(path) or None


def _is_known(word: str | None) -> bool:
    return word is None or word in KEYWORD_TAGS or word in REPEATING_TAGS


def _public_step(match: re.Match[str]) -> Step:
    word = match["word"]
    if word is None:
        tag = int(match["hex"] or (match["g1"] or match["g2"]) + (match["e1"] or match["e2"]), 16)
    else:
        found = KEYWORD_TAGS.get(word, REPEATING_TAGS.get(word))
        if found is None:
            raise UnknownKeyword(word, _keywords_by_lower_case().get(word.lower()))
        tag = found
    return Step(tag, None, _item_number(match["item"]))


def _private_step(creator: str, match: re.Match[str]) -> Step:
    creator = creator.strip(" \0")
    if not creator:
        raise Invalid("A private element is named as CREATOR:ggggxxEE; the creator is missing.")
    group = int(match["group"], 16)
    if not group & 1:
        raise Invalid("A private element has an odd group (PS3.5 7.8).")
    return Step(group << 16 | int(match["element"], 16), creator, _item_number(match["item"]))


def _item_number(digits: str | None) -> int | None:
    if digits is None:
        return None
    digits = digits.lstrip("0") or "0"
    if len(digits) > 10 or int(digits) > MAX_ITEM:
        raise NotFound("No sequence has so many items.")
    return int(digits)


@lru_cache(maxsize=1)
def _keywords_by_lower_case() -> dict[str, str]:
    return {keyword.lower(): keyword for keyword in (*REPEATING_TAGS, *KEYWORD_TAGS)}


def _near_keyword(word: str) -> str | None:
    """Return the keyword that a word all but is: it begins alike and is about as long. None where there is none."""
    if len(word) <= 4:
        return None
    alike = [
        keyword
        for keyword in _keywords_by_lower_case().values()
        if keyword[0] == word[0] and abs(len(keyword) - len(word)) <= 2
    ]
    return next(iter(get_close_matches(word, alike, n=1, cutoff=0.85)), None)


# --- path to text -------------------------------------------------------------------------------------------------

_ESCAPED = re.compile(r"[^A-Za-z0-9 _:-]+")


@lru_cache(maxsize=1024)
def escape_creator(creator: str) -> str:
    """Write a private creator as paths and index keys have it.

    Parameters
    ----------
    creator : str
        The creator, trimmed.

    Returns
    -------
    str
        Every character but ASCII letters, digits, space, ``_``, ``-`` and ``:`` as percent-escapes of its UTF-8.
    """
    return _ESCAPED.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "replace")), creator)


def private_element_key(creator: str, tag: int) -> str:
    """Return the index key of one private element, ``CREATOR:ggggxxEE``; the block of its tag does not matter."""
    return f"{escape_creator(creator)}:{tag >> 16:04X}xx{tag & 0xFF:02X}"


def step_key(step: Step) -> str:
    """Return the text of one step, without its item: keyword, eight hex digits, or ``CREATOR:ggggxxEE``."""
    return element_key(step.tag) if step.creator is None else private_element_key(step.creator, step.tag)


def tag_path_text(path: Sequence[Step]) -> str:
    """Write a tag path as HTTP has it; `parse_tag_path` reads it back."""
    return ".".join(step_key(step) if step.item is None else f"{step_key(step)}[{step.item}]" for step in path)


def index_key(path: Sequence[Step]) -> str:
    """Return the field of the index that holds the values of a path, whatever the items."""
    return "/".join(map(step_key, path))


def text_of_index_key(key: str) -> str:
    """Write an index key as an index path; the inverse of `index_key`."""
    return key.replace("/", ".")


# --- path to element ----------------------------------------------------------------------------------------------


def creator_keys(step: Step) -> list[str]:
    """Name the fields of a document that say which block the creator of a step has; none where it needs no such.

    For a step by creator these are all 240 creator elements of its group; for a private one in plain hex the one of its
    block.
    """
    if step.creator is not None:
        return list(_creators_of_group(step.tag >> 16))
    return [creator_key(step.tag)] if is_private_data(step.tag) else []


@lru_cache(maxsize=64)
def _creators_of_group(group: int) -> tuple[str, ...]:
    return tuple(f"{group:04X}00{block:02X}" for block in range(FIRST_BLOCK, LAST_BLOCK + 1))


def lookup_keys(step: Step) -> list[str]:
    """Name the fields of a document that are needed to resolve a step, for a projection.

    Returns
    -------
    list of str
        The element's own key; for a private one also its creator's; for one named by its creator every creator element
        of the group, and the element in every block.
    """
    keys = creator_keys(step)
    if step.creator is None:
        return [element_key(step.tag), *keys]
    group, element = step.tag >> 16, step.tag & 0xFF
    return keys + [f"{group:04X}{block:02X}{element:02X}" for block in range(FIRST_BLOCK, LAST_BLOCK + 1)]


USUAL_BLOCKS = 16
"""Blocks of a group in which its creators are looked for first: devices count from the first."""


def first_keys(steps: Iterable[Step]) -> list[str]:
    """Name the fields to read first where steps are to be resolved in many documents: see `further_keys`."""
    keys: dict[str, None] = {}
    for step in steps:
        if step.creator is None:
            keys[element_key(step.tag)] = None
        keys |= dict.fromkeys(creator_keys(step)[:USUAL_BLOCKS])
    return list(keys)


def further_keys(dataset: Mapping[str, Any], steps: Iterable[Step], read: Collection[str]) -> set[str]:
    """Name the fields that are still to be read of a document, by the creators that were: one block, not all 240.

    Parameters
    ----------
    dataset : Mapping
        What was read of the document.
    steps : iterable of Step
        What is to be resolved on its top level.
    read : collection of str
        The fields that were asked for.

    Returns
    -------
    set of str
        None of them when all is there that the document has.
    """
    further: set[str] = set()
    elsewhere: set[int] = set()
    for step in steps:
        if step.creator is not None:
            here = candidate_keys(dataset, step)
            missing = [key for key in here if key not in read]
            further.update(missing)
            if not missing and not any(key in dataset for key in here):
                elsewhere.add(step.tag >> 16)
    for group in elsewhere:
        further.update(key for key in _creators_of_group(group) if key not in read)
    return further


def candidate_keys(dataset: Mapping[str, Any], step: Step) -> list[str]:
    """Name the fields where the element of a step can stand, given the creators of its level.

    Parameters
    ----------
    dataset : Mapping
        The level of the tree, or only what `creator_keys` names of it.

    Returns
    -------
    list of str
        One key for a public step; for a private one a key for every block that its creator has reserved.
    """
    if step.creator is None:
        return [element_key(step.tag)]
    return [
        f"{key[:4]}{key[6:]}{step.tag & 0xFF:02X}"
        for key in _creators_of_group(step.tag >> 16)
        if key in dataset and creator_text(dataset[key]) == step.creator
    ]


def locate(dataset: Mapping[str, Any], path: Sequence[Step]) -> Located:
    """Find the element of a tag path in a tree.

    Parameters
    ----------
    dataset : Mapping
        The tree, by keyword or hex; creators are resolved on each level anew.
    path : sequence of Step
        Of `parse_tag_path`.

    Raises
    ------
    NotFound
        There is no such element or item.
    Invalid
        It is in several items, and the path does not say which is meant.
    BelowSpilled
        It is below a sequence that the document does not hold.
    """
    found = list(islice(_iter_located(dataset, path), 2))
    if len(found) > 1:
        raise Invalid(
            "Several items of a sequence have this element: say which is meant, counted from 0, as in "
            "ReferencedImageSequence[0].ReferencedSOPInstanceUID."
        )
    if not found:
        raise NotFound("The file has no such element.")
    return found[0]


def _iter_located(level: Mapping[str, Any], path: Sequence[Step]) -> Iterator[Located]:
    """Return where a path leads to, in each of the items that a step without a number means."""
    step = path[0]
    key = next((key for key in candidate_keys(level, step) if level.get(key) is not None), None)
    if key is None:
        return
    if len(path) == 1:
        tag = tag_of_key(key)
        yield Located(tag, level[key], creator_of(level, tag))
        return
    for item in items_of(level[key], step.item):
        yield from _iter_located(item, path[1:])


def items_of(element: Mapping[str, Any], number: int | None) -> Sequence[Mapping[str, Any]]:
    """Return the items of a sequence that a step means: the one of its number, or all; none of what has no items.

    Raises
    ------
    BelowSpilled
        The document does not hold them.
    """
    if element.get("vr") != "SQ" or (number is not None and number < 0):
        return ()
    if element.get("spilled"):
        if number is None or number < element.get("items", 0):
            raise BelowSpilled
        return ()
    items: Sequence[Mapping[str, Any]] = element.get("Value") or ()
    return items if number is None else items[number : number + 1]
