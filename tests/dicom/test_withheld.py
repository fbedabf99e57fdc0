"""Originals within a tree are left out, whatever form their values have."""

import pytest

from service.dicom.jsonmodel import dicom_json
from service.dicom.simplified import simplify_dataset
from service.dicom.withheld import without_original, without_originals

SECRET = "not to be had"


@pytest.mark.parametrize(
    ("element", "shown"),
    [
        ({"vr": "OB", "InlineBinary": SECRET.encode()}, {"vr": "OB", "length": 13}),
        ({"vr": "OW", "length": 9000, "offset": 400}, {"vr": "OW", "length": 9000, "offset": 400}),
        ({"vr": "UT", "Value": [SECRET]}, {"vr": "UN"}),
        ({"vr": "UT", "raw": SECRET, "problem": "too long"}, {"vr": "UN", "problem": "too long", "length": 13}),
        ({"vr": "UN", "raw": SECRET.encode()}, {"vr": "UN", "length": 13}),
        ({"vr": "SQ", "Value": [{"TextValue": {"vr": "UT", "Value": [SECRET]}}]}, {"vr": "UN"}),
        ({"vr": "SQ", "items": 3, "spilled": True}, {"vr": "UN", "items": 3}),
        ({"vr": "OB"}, {"vr": "OB"}),
    ],
)
def test_an_original_keeps_its_length_and_loses_its_value(element, shown):
    tree = {"Modality": {"vr": "CS", "Value": ["CT"]}, "EncapsulatedDocument": element}
    left = without_originals(tree)
    assert left == {**tree, "EncapsulatedDocument": shown}
    assert without_original(0x00420011, element) == shown
    written = f"{simplify_dataset(left)}{dicom_json(left, lambda path: path)}"
    assert SECRET not in written
    assert "00420011" in written


def test_originals_are_left_out_of_items_at_any_depth_and_nothing_else_is():
    other = {"vr": "OB", "InlineBinary": b"an overlay"}
    tree = {"OverlayData": other}
    expected = dict(tree)
    for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData", "EncapsulatedDocument"):
        tree = {
            keyword: {"vr": "OB", "InlineBinary": SECRET.encode()},
            "00091001": {"vr": "SQ", "Value": [tree, {}]},
            "OverlayData": other,
        }
        expected = {
            keyword: {"vr": "OB", "length": 13},
            "00091001": {"vr": "SQ", "Value": [expected, {}]},
            "OverlayData": other,
        }
    assert without_originals(tree) == expected
