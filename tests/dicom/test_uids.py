"""What counts as a UID, and as an identifier by which an instance is found (PS3.5 9.1)."""

from __future__ import annotations

from typing import Any

import pytest

from service.dicom.extract import extract, read_tree
from service.dicom.limits import Limits
from service.dicom.pixels.header import read_header
from service.dicom.pixels.limits import PixelLimits
from service.dicom.pixels.stored import stored_frame
from service.dicom.series import series_elements
from service.dicom.uids import identifiers_of, is_uid, transfer_syntax_of
from tests.dicom.pixels.build import GREY_8, build_file

EVIL = [
    "\r\nX-Evil: 1\r\n\r\n<script>",
    '1.2.840"',
    "1.2.840.10008.1.2.1;q=1",
    "1.2.840.10008.1.2.1, */*",
    "1.2.840.10008.1.2.1\n",
    "\u0661.2",
    "1..2",
    ".1",
    "1.",
    "1.02",
    "1." + "2" * 63,
    "-1.2",
    "",
]


def tree(**elements: str) -> dict[str, Any]:
    return {keyword: {"vr": "UI", "Value": [value]} for keyword, value in elements.items()}


@pytest.mark.parametrize("text", ["1.2.840.10008.1.2.1", "0", "2.25.0", "1." + "2" * 62])
def test_numbers_between_dots_are_a_uid(text):
    assert is_uid(text)
    assert transfer_syntax_of(tree(TransferSyntaxUID=text)) == text


@pytest.mark.parametrize("text", EVIL)
def test_anything_else_is_none_and_names_no_transfer_syntax(text):
    assert not is_uid(text)
    assert transfer_syntax_of(tree(TransferSyntaxUID=text)) is None
    assert identifiers_of(tree(TransferSyntaxUID=text))["transfer_syntax_uid"] is None


@pytest.mark.parametrize("element", [{"vr": "UI"}, {"vr": "UI", "Value": [None]}, {"vr": "IS", "Value": [1]}])
def test_no_text_is_no_transfer_syntax(element):
    assert transfer_syntax_of({"TransferSyntaxUID": element}) is None


@pytest.mark.parametrize(
    "text", ["1.2.03", "1.2." + "3" * 70, "STUDY-17", "1.2.840.x", "{B9E1}", "a/b", "1.2..3", "1.2 3", "...", "x" * 256]
)
def test_sloppy_identifiers_stay_findable(text):
    dataset = tree(StudyInstanceUID=text, SeriesInstanceUID=text, SOPInstanceUID=text, SOPClassUID=text)
    assert set(identifiers_of(dataset).values()) == {text, None}
    assert series_elements(dataset) is not None


@pytest.mark.parametrize("text", ["\r\nX-Evil: 1", "1.2\x00.3", "1.2\x7f", "\u0661.2", "..", ".", "", "x" * 257])
@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_what_cannot_stand_in_a_path_or_a_header_identifies_nothing(keyword, text):
    whole = tree(StudyInstanceUID="1.1", SeriesInstanceUID="1.2", SOPInstanceUID="1.3", SOPClassUID="1.4")
    dataset = whole | tree(**{keyword: text})
    assert list(identifiers_of(dataset).values()).count(None) == 2  # and no transfer syntax
    assert series_elements(dataset) is None


def test_the_file_meta_names_an_instance_that_the_data_set_does_not():
    dataset = tree(StudyInstanceUID="1.1", SeriesInstanceUID="1.2", MediaStorageSOPInstanceUID="1.3")
    assert identifiers_of(dataset)["sop_instance_uid"] == "1.3"
    assert series_elements(dataset) == tree(StudyInstanceUID="1.1", SeriesInstanceUID="1.2")
    both = dataset | tree(SOPInstanceUID="\n", MediaStorageSOPInstanceUID="1.3")
    assert identifiers_of(both)["sop_instance_uid"] == "1.3"


@pytest.mark.parametrize("text", ["\r\nX-Evil: 1\r\n\r\n<script>", '1.2"; boundary=x'])
def test_the_tree_keeps_what_the_file_says_and_nothing_else_does(text):
    # The same length, so that the rest of the file stays where it is.
    private = "1.3.6.1.4.1.99999.1.2.3.4.5.6.7.8"
    file = build_file(GREY_8, syntax=private).replace(private.encode(), text.encode().ljust(len(private), b" "))
    extraction = extract(file, Limits())
    assert extraction.dataset["TransferSyntaxUID"]["Value"] == [text]
    assert extraction.identifiers["transfer_syntax_uid"] is None
    found = read_tree(file, Limits())
    assert read_header(found.dataset, PixelLimits()).transfer_syntax_uid == ""
    assert stored_frame(file, found, 0, PixelLimits()) == (GREY_8.tobytes(), "1.2.840.10008.1.2.1")
