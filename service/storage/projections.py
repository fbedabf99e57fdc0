"""Single elements out of a stored tree, by a projection: the tree itself stays in the database."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping, Sequence
from typing import Any, TypedDict

from pymongo.collection import Collection as MongoCollection

from schemas.database import ExtractionStatus, Instance
from service.storage.collections import Document
from service.storage.visible import Visible

Further = Callable[[Mapping[str, Any], Collection[str]], Iterable[str]]
"""Takes what was read of a tree and the keys that were asked for, and names the keys that are still to be read."""

_KEY = re.compile(r"[A-Za-z0-9_]+")
_BESIDE = {"_id": 0, "extraction": 1, "spilled": 1}


class Elements(TypedDict):
    """Single elements of an instance.

    Attributes
    ----------
    extraction : ExtractionStatus
        How far the instance is.
    spilled : bool
        Whether its tree leaves something in the original.
    elements : dict
        Key to element, of those that are there.
    """

    extraction: ExtractionStatus
    spilled: bool
    elements: dict[str, Any]


def check_keys(keys: Sequence[str]) -> None:
    """Refuse what is not a key of the tree, before it becomes a path of a query.

    Raises
    ------
    ValueError
        If a key is neither a keyword nor hex digits.
    """
    for key in keys:
        if not _KEY.fullmatch(key):
            raise ValueError("This is not a key of a dataset.")


def fields_of(keys: Sequence[str]) -> frozenset[str]:
    """Return the fields to fetch for elements of the dataset itself."""
    return frozenset(["extraction", "spilled", *(f"dataset.{key}" for key in keys)])


def nested_pipeline(
    visible: Visible, dicom_id: str, parents: Sequence[tuple[str, int]], keys: Sequence[str]
) -> list[Document]:
    """Return the pipeline that fetches elements of one item of a sequence, of an item of a sequence, ….

    `$arrayElemAt` takes one item, and it is bound to a name for the next level: a path through an array without
    item numbers would gather from all of its items.

    Raises
    ------
    ValueError
        If an item number is negative: `$arrayElemAt` would count it from the end.
    """
    if any(item < 0 for _, item in parents):
        raise ValueError("Items count from 0.")
    place = "$dataset"
    bindings: list[tuple[str, Any]] = []
    for depth, (key, item) in enumerate(parents):
        bindings.append((f"item{depth}", {"$arrayElemAt": [f"{place}.{key}.Value", item]}))
        place = f"$$item{depth}"
    expression: Any = {key: f"{place}.{key}" for key in keys}
    for name, value in reversed(bindings):
        expression = {"$let": {"vars": {name: value}, "in": expression}}
    return [{"$match": visible.instance(dicom_id)}, {"$project": {**_BESIDE, "dataset": expression}}]


def read_answer(found: Mapping[str, Any], keys: Sequence[str]) -> Elements:
    """Shape what was fetched of these keys.

    An absent element is absent, whether the server left it out or wrote null; and so is one that somebody else's
    look-up brought along.
    """
    elements = found.get("dataset") or {}
    return {
        "extraction": found["extraction"],
        "spilled": bool(found.get("spilled")),
        "elements": {key: element for key in keys if (element := elements.get(key)) is not None},
    }


def read_further(
    instances: MongoCollection[Instance],
    among: Document,
    found: MutableMapping[str, Instance],
    keys: Iterable[str],
    further: Further,
) -> None:
    """Read more elements of documents, by what was read of them, until nothing is wanted any more.

    Parameters
    ----------
    instances : Collection
        Where they are.
    among : dict
        The filter that found them.
    found : mapping of str to dict
        The documents by their ids. Their ``dataset`` is added to.
    keys : iterable of str
        The keys of elements that were asked for already.
    further : callable
        Names the keys that are wanted beside them.

    Raises
    ------
    ValueError
        If a key cannot be one.
    """
    read = set(keys)
    while True:
        wanted = {each: set(further(document.get("dataset") or {}, read)) - read for each, document in found.items()}
        some = [each for each in wanted if wanted[each]]
        if not some:
            return
        more = set().union(*wanted.values())
        check_keys(sorted(more))
        projection = {f"dataset.{key}": 1 for key in more}
        for document in instances.find({**among, "_id": {"$in": some}}, projection):
            instance = found[document["_id"]]
            instance["dataset"] = {**instance.get("dataset", {}), **(document.get("dataset") or {})}
        read |= more
