"""The trees of all files of pydicom's wheel, and a field for each of their elements."""

import warnings
from pathlib import Path

import pydicom

from service.dicom.columns import Seen, settle
from service.dicom.dictionary import KEYWORD_VRS
from service.dicom.extract import read_tree
from service.dicom.limits import Limits
from service.dicom.paths import index_key, parse_search_path, private_element_key
from service.dicom.private import creator_of
from service.dicom.source import open_source

FILES = sorted((Path(pydicom.__file__).parent / "data" / "test_files").rglob("*.dcm"))
LIMITS = Limits()


def paths_of(dataset):
    """The path of each element outside sequences, private ones by their creators, and the element."""
    for key, element in dataset.items():
        creator = None if key in KEYWORD_VRS else creator_of(dataset, int(key, 16))
        name = key if creator is None else private_element_key(creator, int(key, 16))
        yield parse_search_path(name), element


def fields_of(dataset):
    """A field for each element, of the type of its VR; and of some the type that files of other VRs would give it."""
    for path, element in paths_of(dataset):
        several = len(element.get("Value") or ()) > 1
        for vrs in ({element["vr"]}, {element["vr"], "LO"}, {"DS"}, {"SQ"}):
            yield settle(index_key(path), path, Seen(frozenset(vrs), several))
            yield settle(index_key(path), path, Seen(frozenset(vrs), several=not several))


def same(one, other):
    """Whether cells are the same, NaN being itself, and integers no floats."""
    return repr(one) == repr(other)


def tree_of(content):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_tree(open_source(content), LIMITS).dataset
