"""Windows and VOI LUTs (PS3.3 C.11.2), with numbers worked out by hand."""

import numpy as np
import pytest

from service.dicom.pixels.luts import Lut
from service.dicom.pixels.voi import Voi, Window, choose_voi, from_extremes, read_vois
from service.errors import Invalid


def shade(window, *inputs):
    return window.apply(np.array(inputs, dtype=np.float64)).tolist()


def test_linear_is_the_formula_of_the_standard():
    # c = 2048, w = 4096: the Standard's own example, -> 0 to 4095 in 4095 steps
    assert shade(Window(2048, 4096), -1, 0, 4095, 5000) == [0, 0, 1, 1]
    assert shade(Window(2048, 4096), 1638) == [pytest.approx(1638 / 4095)]
    # c = 0, w = 100: -50 is black, 49 is white
    assert shade(Window(0, 100), -50, 49, 50) == [0, 1, 1]
    assert shade(Window(0, 100), 0) == [pytest.approx(50 / 99)]


def test_linear_of_width_one_is_a_threshold():
    assert shade(Window(7, 1), 6, 6.5, 7) == [0, 0, 1]


def test_linear_exact_has_no_half_pixels():
    assert shade(Window(0, 100, "LINEAR_EXACT"), -50, 0, 25, 50) == [0, 0.5, 0.75, 1]


def test_sigmoid_is_half_at_its_center_and_never_overflows():
    window = Window(10, 4, "SIGMOID")
    assert shade(window, 10, 14) == [0.5, pytest.approx(1 / (1 + np.exp(-4)))]
    assert shade(Window(0, 1e-9, "SIGMOID"), -1e9, 1e9) == [pytest.approx(0, abs=1e-300), 1]


def test_a_width_below_one_is_linear_exact_and_none_is_defined_for_zero():
    assert Window(5, 0.5).defined() == Window(5, 0.5, "LINEAR_EXACT")
    assert Window(5, 0.5, "SIGMOID").defined() == Window(5, 0.5, "SIGMOID")
    assert Window(5, 0).defined() is None
    assert Window(5, -3).defined() is None


def test_a_voi_lut_reaches_from_black_to_white():
    voi = Voi("voi-lut", lut=Lut(0, np.array([0, 2048, 4095], np.uint16), 12))
    assert voi.apply(np.array([-5.0, 1.0, 2.0])).tolist() == [0, pytest.approx(2048 / 4095), 1]


def test_extremes_become_black_and_white():
    window = from_extremes(-10, 30).window
    assert (window.center, window.width) == (10.5, 41)
    assert shade(window, -10, 30) == [0, 1]
    window = from_extremes(0.25, 0.75).window
    assert (window.center, window.width, window.function) == (0.5, 0.5, "LINEAR_EXACT")
    assert shade(window, 0.25, 0.75) == [0, 1]


def test_a_constant_picture_is_black():
    assert shade(from_extremes(7, 7).window, 7) == [0]
    assert shade(from_extremes(0.5, 0.5).window, 0.5) == [0]


def offered(dataset, frame=0):
    return read_vois(dataset, frame, lambda _: b"", signed_input=False)


def windows(centers, widths, **rest):
    return {"WindowCenter": {"Value": centers}, "WindowWidth": {"Value": widths}, **rest}


def test_windows_come_before_voi_luts():
    item = {"LUTDescriptor": {"Value": [2, 0, 8]}, "LUTData": {"InlineBinary": b"\x00\xff"}}
    found = offered(windows([40, 300], [80, 1500, 7], VOILUTSequence={"Value": [item]}))
    assert [voi.source for voi in found] == ["window", "window", "voi-lut"]
    assert found[1].window == Window(300, 1500)


def test_the_function_of_the_file_holds_for_its_windows():
    found = offered(windows([40], [80], VOILUTFunction={"Value": ["SIGMOID "]}))
    assert found[0].window.function == "SIGMOID"
    assert offered(windows([40], [80], VOILUTFunction={"Value": ["WHATEVER"]}))[0].window.function == "LINEAR"


def test_the_functional_groups_of_the_frame_rule():
    def group(center):
        return {"FrameVOILUTSequence": {"Value": [windows([center], [10])]}}

    dataset = windows([1], [10], SharedFunctionalGroupsSequence={"Value": [group(2)]})
    assert offered(dataset)[0].window.center == 2
    dataset["PerFrameFunctionalGroupsSequence"] = {"Value": [group(3), {}]}
    assert [offered(dataset, frame)[0].window.center for frame in (0, 1, 2)] == [3, 2, 2]


def test_what_is_no_number_ends_the_windows():
    assert offered(windows(["a lot"], [80])) == []
    assert len(offered(windows([40, None, 50], [80, 80, 80]))) == 1
    assert offered({"WindowCenter": {"vr": "DS", "raw": "x", "problem": "no number"}}) == []


def test_the_first_usable_one_is_taken_and_one_can_be_asked_for():
    found = offered(windows([1, 2, 3], [0, 5, 6]))
    warnings = []
    assert choose_voi(found, None, warnings).window == Window(2, 5)
    assert warnings == ["A window or VOI LUT that cannot be used was left out."]
    assert choose_voi(found, 2, []).window == Window(3, 6)
    assert choose_voi([], None, []) is None


@pytest.mark.parametrize("wanted", [-1, 0, 3])
def test_one_that_is_not_there_or_has_no_width_is_refused(wanted):
    with pytest.raises(Invalid, match="VOI LUT"):
        choose_voi(offered(windows([1, 2, 3], [0, 5, 6])), wanted, [])
