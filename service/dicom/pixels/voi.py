"""Which values of interest become which grey: windows and VOI LUTs (PS3.3 C.11.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from service.dicom.pixels.attributes import ReadBytes, items, numbers, of_frame, text
from service.dicom.pixels.luts import Lut, read_lut
from service.errors import Invalid

Values = NDArray[np.float64]
Function = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]
Source = Literal["request", "window", "voi-lut", "min-max", "none"]

FUNCTIONS: tuple[Function, ...] = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


@dataclass(frozen=True, slots=True)
class Window:
    """A window: its center and width in the units of the modality's values, and its function."""

    center: float
    width: float
    function: Function = "LINEAR"

    def defined(self) -> Window | None:
        """Return the window with a function that is defined for its width (PS3.3 C.11.2.1.2.1, C.11.2.1.3).

        LINEAR is not below 1, where LINEAR_EXACT, which is the same without its half pixels, is. Nothing is for 0.
        """
        if self.width <= 0:
            return None
        return Window(self.center, self.width, "LINEAR_EXACT") if self.width < 1 and self.function == "LINEAR" else self

    def apply(self, inputs: Values) -> Values:
        """Map values to the range 0 (black) to 1 (white)."""
        return _WINDOW_FUNCTIONS[self.function](inputs, self.center, self.width)


@dataclass(frozen=True, slots=True)
class Voi:
    """What is applied, and where it came from."""

    source: Source
    window: Window | None = None
    lut: Lut | None = None

    def apply(self, inputs: Values) -> Values:
        """Map the modality's values to the range 0 (black) to 1 (white)."""
        if self.lut is not None:
            outputs: Values = self.lut.apply(inputs) / (2**self.lut.bits - 1)
            return outputs
        return self.window.apply(inputs) if self.window is not None else inputs


def apply_linear(inputs: Values, center: float, width: float) -> Values:
    """Apply the function LINEAR (PS3.3 C.11.2.1.2.1); `width` is at least 1."""
    if width == 1:
        return (inputs > center - 0.5).astype(np.float64)
    return np.clip((inputs - (center - 0.5)) / (width - 1) + 0.5, 0, 1)


def apply_linear_exact(inputs: Values, center: float, width: float) -> Values:
    """Apply the function LINEAR_EXACT (PS3.3 C.11.2.1.3.2); `width` is more than 0."""
    return np.clip((inputs - center) / width + 0.5, 0, 1)


def apply_sigmoid(inputs: Values, center: float, width: float) -> Values:
    """Apply the function SIGMOID (PS3.3 C.11.2.1.3.1); `width` is more than 0."""
    # The exponent is bounded where the result is 0 or 1 to the last digit anyway.
    return 1 / (1 + np.exp(np.clip(-4 * (inputs - center) / width, -700, 700)))


def read_vois(dataset: Mapping[str, Any], frame: int, read_bytes: ReadBytes, *, signed_input: bool) -> list[Voi | None]:
    """Return what a dataset offers for one frame: its windows, then its VOI LUTs.

    Those of the frame's functional groups (PS3.3 C.7.6.16.2.10) come instead of those of the dataset, as the two are
    not used together.

    Parameters
    ----------
    dataset : Mapping
        The whole dataset.
    frame : int
        The frame, from 0.
    read_bytes : ReadBytes
        Reads what the tree does not hold.
    signed_input : bool
        Whether the values that a VOI LUT maps may be negative.

    Returns
    -------
    list of Voi or None
        None stands for one that cannot be used: an empty table, a width that is not above 0.
    """
    holder = of_frame(dataset, frame, "FrameVOILUTSequence")
    found: list[Voi | None] = []
    for place in (holder, dataset):
        if place is None:
            continue
        named = text(place, "VOILUTFunction")
        function: Function = next((name for name in FUNCTIONS if name == named), "LINEAR")
        for center, width in zip(numbers(place, "WindowCenter"), numbers(place, "WindowWidth"), strict=False):
            window = Window(center, width, function).defined()
            found.append(Voi("window", window) if window is not None else None)
        for item in items(place, "VOILUTSequence"):
            lut = read_lut(item, "LUTDescriptor", "LUTData", read_bytes, signed_input=signed_input)
            found.append(Voi("voi-lut", lut=lut) if lut is not None else None)
        if found:
            break
    return found


def choose_voi(offered: list[Voi | None], wanted: int | None, warnings: list[str]) -> Voi | None:
    """Choose among what a dataset offers: the one asked for, else the first that can be used.

    Raises
    ------
    Invalid
        Where the one asked for is not there, or cannot be used.
    """
    if wanted is None:
        if None in offered:
            warnings.append("A window or VOI LUT that cannot be used was left out.")
        return next((voi for voi in offered if voi is not None), None)
    if not 0 <= wanted < len(offered):
        raise Invalid(f"There is no window or VOI LUT {wanted + 1}: this frame has {len(offered)} of them.")
    chosen = offered[wanted]
    if chosen is None:
        raise Invalid(f"Window or VOI LUT {wanted + 1} of this frame cannot be used: it is empty or has no width.")
    return chosen


def from_extremes(lowest: float, highest: float) -> Voi:
    """Return the window that shows the lowest value black and the highest one white.

    Whole numbers get the function LINEAR, which counts the values from end to end, so that the window can be asked for
    again by its center and width; other numbers get LINEAR_EXACT. Of a constant image every pixel is black.
    """
    if lowest == highest or (float(lowest).is_integer() and float(highest).is_integer()):
        return Voi("min-max", Window((lowest + highest + 1) / 2, highest - lowest + 1))
    return Voi("min-max", Window((lowest + highest) / 2, highest - lowest, "LINEAR_EXACT"))


_WINDOW_FUNCTIONS = {"LINEAR": apply_linear, "LINEAR_EXACT": apply_linear_exact, "SIGMOID": apply_sigmoid}
