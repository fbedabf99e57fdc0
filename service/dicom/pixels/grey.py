"""Stored values to grey: the grayscale transformation sequence (PS3.4 N.2, PS3.3 C.11)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.dicom.pixels.attributes import ReadBytes, is_present, items, number, of_frame, text
from service.dicom.pixels.luts import Lut, read_lut
from service.dicom.pixels.voi import Voi

Values = NDArray[np.float64]

_TABLE_SPAN = 65536
_BLOCK = 1 << 20
_FARTHEST = 2.0**1000  # what a window is made of stays so small that differences and sums of it are finite


@dataclass(frozen=True, slots=True)
class Modality:
    """The modality transformation: a table, or else a line (PS3.3 C.11.1)."""

    slope: float = 1.0
    intercept: float = 0.0
    lut: Lut | None = None

    def apply(self, inputs: Values) -> Values:
        """Turn stored values into the modality's values."""
        if self.lut is not None:
            return self.lut.apply(inputs).astype(np.float64)
        return inputs * self.slope + self.intercept if (self.slope, self.intercept) != (1.0, 0.0) else inputs

    def reaches_below_zero(self, *, signed: bool) -> bool:
        """Return whether its output may be negative, given whether stored values may be."""
        return self.lut is None and (signed or self.intercept < 0 or self.slope < 0)


@dataclass(frozen=True, slots=True)
class Presentation:
    """What follows the VOI transformation: a table to P-values, and an inversion (PS3.3 C.11.4, C.11.6)."""

    lut: Lut | None = None
    inverted: bool = False

    def apply(self, inputs: Values) -> Values:
        """Map values from 0 to 1 to P-values from 0 to 1."""
        if self.lut is not None:
            last = len(self.lut.entries) - 1
            inputs = self.lut.apply(inputs * last + self.lut.first) / (2**self.lut.bits - 1)
        return 1 - inputs if self.inverted else inputs


def read_modality(
    dataset: Mapping[str, Any], frame: int, read_bytes: ReadBytes, warnings: list[str], *, signed: bool
) -> Modality:
    """Read the modality transformation of one frame.

    It is the Modality LUT (PS3.3 C.11.1), else the rescale of the frame's Pixel Value Transformation (PS3.3
    C.7.6.16.2.9), else that of the dataset, else nothing.

    Parameters
    ----------
    dataset : Mapping
        The whole dataset.
    frame : int
        The frame, from 0.
    read_bytes : ReadBytes
        Reads what the tree does not hold.
    warnings : list of str
        Where a table or slope cannot be used, that is noted here.
    signed : bool
        Whether stored values may be negative.
    """
    for item in items(dataset, "ModalityLUTSequence")[:1]:
        lut = read_lut(item, "LUTDescriptor", "LUTData", read_bytes, signed_input=signed)
        if lut is not None:
            return Modality(lut=lut)
        warnings.append("The Modality LUT is empty, and was left out.")
    place = of_frame(dataset, frame, "PixelValueTransformationSequence") or dataset
    slope, intercept = number(place, "RescaleSlope"), number(place, "RescaleIntercept")
    if slope == 0 or (slope is None and is_present(place, "RescaleSlope")):
        warnings.append("(0028,1053) Rescale Slope is not a number other than 0, and was left out.")
        slope = 1.0
    return Modality(1.0 if slope is None else slope, intercept or 0.0)


def read_presentation(dataset: Mapping[str, Any], photometric: str, read_bytes: ReadBytes) -> Presentation:
    """Read what follows the VOI transformation (PS3.3 C.11.4, C.11.6, C.7.6.3.1.2).

    MONOCHROME1 asks for an inversion, and so does Presentation LUT Shape INVERSE, which comes with it in a digital
    X-ray (PS3.3 C.8.11.3): they name one inversion, not two. The shape rules where it is there.
    """
    for item in items(dataset, "PresentationLUTSequence")[:1]:
        lut = read_lut(item, "LUTDescriptor", "LUTData", read_bytes, signed_input=False)
        if lut is not None:
            return Presentation(lut, photometric == "MONOCHROME1")
    shape = text(dataset, "PresentationLUTShape")
    if shape in ("IDENTITY", "INVERSE"):
        return Presentation(inverted=shape == "INVERSE")
    return Presentation(inverted=photometric == "MONOCHROME1")


def find_extremes(samples: NDArray[Any], modality: Modality) -> tuple[float, float]:
    """Return the lowest and the highest of the modality's values in a frame.

    What is not a finite number does not count; a frame of nothing else has 0 and 0.
    """
    ends: list[float] = []
    flat = samples.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        block = flat[start : start + _BLOCK]
        if block.dtype.kind == "f":
            block = block[np.isfinite(block)]
        if modality.lut is not None:
            block = modality.lut.apply(block)
        if block.size:
            ends += (float(block.min()), float(block.max()))
    if not ends:
        return 0.0, 0.0
    lowest, highest = min(ends), max(ends)
    if modality.lut is None:
        with np.errstate(over="ignore"):
            lowest, highest = sorted(modality.apply(np.array([lowest, highest])).tolist())
    return max(lowest, -_FARTHEST), min(highest, _FARTHEST)


def to_grey(samples: NDArray[Any], modality: Modality, voi: Voi, presentation: Presentation) -> NDArray[np.uint8]:
    """Apply the grayscale transformation sequence (PS3.4 N.2) to a frame.

    Parameters
    ----------
    samples : ndarray
        (rows, columns) stored values: integers or floats.
    modality, voi, presentation
        The three transformations, in this order.

    Returns
    -------
    ndarray
        (rows, columns): 0 is black, 255 is white.
    """

    # Floating-point pixels reach past what differences of them do; the ends of the range are clipped anyway.
    @np.errstate(over="ignore", invalid="ignore")
    def shade(values: Values) -> NDArray[np.uint8]:
        return _quantise(presentation.apply(voi.apply(modality.apply(values))))

    if samples.dtype.kind in "iu":
        lowest, highest = int(samples.min()), int(samples.max())
        if highest - lowest < _TABLE_SPAN:
            # Each value that may occur is shaded once, then every sample is looked up.
            table = shade(np.arange(highest - lowest + 1, dtype=np.float64) + lowest)
            unsigned = samples.view(f"u{samples.dtype.itemsize}")
            # Modular arithmetic: the difference is right whether or not samples are signed.
            first = unsigned.dtype.type(lowest % (1 << (8 * samples.dtype.itemsize)))
            return _by_blocks(unsigned, lambda block: np.take(table, block - first))
    return _by_blocks(samples, lambda block: shade(block.astype(np.float64)))


def _by_blocks(samples: NDArray[Any], convert: Callable[[NDArray[Any]], NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Convert values block by block, so that the wide numbers of a large frame do not stand in memory at once."""
    flat = samples.reshape(-1)
    converted = np.empty(flat.shape, dtype=np.uint8)
    for start in range(0, flat.size, _BLOCK):
        converted[start : start + _BLOCK] = convert(flat[start : start + _BLOCK])
    return converted.reshape(samples.shape)


def _quantise(values: Values) -> NDArray[np.uint8]:
    """Round values from 0 to 1 to 8 bits; what is not a number is black."""
    return np.floor(np.nan_to_num(np.clip(values, 0, 1)) * 255 + 0.5).astype(np.uint8)
