"""One frame to a picture: the pipeline of PS3.3 C.11 and PS3.4 N.2, from bytes to PNG or JPEG.

Overlays are left out, and a pixel of the frame stays a pixel of the picture whatever its aspect ratio.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from mmap import mmap
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from service.dicom.extract import read_tree
from service.dicom.limits import Limits
from service.dicom.pixels import colour, encode, grey
from service.dicom.pixels.attributes import ReadBytes, text
from service.dicom.pixels.decode import Decoded
from service.dicom.pixels.frames import Buffer, check_frame_number
from service.dicom.pixels.header import ImageHeader, read_header
from service.dicom.pixels.limits import PixelLimits
from service.dicom.pixels.luts import Lut, read_lut, read_segmented_lut
from service.dicom.pixels.stored import PixelTree, decode_frame
from service.dicom.pixels.voi import FUNCTIONS, Function, Source, Voi, Window, choose_voi, from_extremes, read_vois
from service.dicom.source import open_source
from service.errors import Invalid, LimitExceeded, NotRenderable

RENDERER_VERSION = 2
"""Part of the key of every cached picture: a change that changes any picture raises it."""

_PRIMARIES = ("Red", "Green", "Blue")


@dataclass(frozen=True, slots=True)
class RenderRequest:
    """What picture is wanted.

    Parameters
    ----------
    frame : int
        From 0.
    window : tuple of float, optional
        Center and width, instead of what the file says.
    function : str, optional
        The function of that window; by default the file's own.
    voi : int, optional
        Which of the file's windows and VOI LUTs, from 0; by default the first one that can be used.
    region : tuple of int, optional
        Left, top, width and height of the part of the frame that is shown, in pixels; negative sizes flip it.
    size : int, optional
        Pixels of the longest side.
    format : str
        `png` or `jpeg`.
    quality : int
        Of a JPEG, 1 to 100.
    """

    frame: int = 0
    window: tuple[float, float] | None = None
    function: Function | None = None
    voi: int | None = None
    region: tuple[int, int, int, int] | None = None
    size: int | None = None
    format: Literal["png", "jpeg"] = "png"
    quality: int = 90


@dataclass(frozen=True, slots=True)
class Rendition:
    """A picture, and what is to be known of it.

    Parameters
    ----------
    data : bytes
        The PNG or JPEG file.
    media_type : str
        Its type.
    width, height : int
        Pixels.
    frame, frames : int
        The frame, from 0, and how many there are.
    window : tuple of float or None
        Center and width that were applied; None of a picture in colour and where a VOI LUT was applied.
    window_function : str or None
        The function they were applied with.
    window_source : str
        Where they came from: `request`, `window`, `voi-lut`, `min-max`, or `none` of a picture in colour.
    warnings : tuple of str
        What was missing or contradictory in the file, and what was done about it.
    """

    data: bytes
    media_type: str
    width: int
    height: int
    frame: int
    frames: int
    window: tuple[float, float] | None
    window_function: str | None
    window_source: Source
    warnings: tuple[str, ...]


def render(
    source: bytes | mmap | str | Path,
    request: RenderRequest,
    limits: PixelLimits | None = None,
    reading: Limits | None = None,
) -> Rendition:
    """Render one frame of a file.

    Parameters
    ----------
    source : bytes, mmap or path
        The file, or where it is; a path is mapped, so that only what the frame needs is read.
    request : RenderRequest
        What picture is wanted.
    limits : PixelLimits, optional
        The bounds on a frame.
    reading : Limits, optional
        The bounds on the rest of the file.

    Raises
    ------
    Invalid
        Where the request asks for what is not there.
    NotRenderable
        Where the object has no pixels, or they cannot be decoded.
    LimitExceeded
        Where the frame is too large.
    NotDicom
        Where it is no DICOM file.
    """
    buffer = open_source(source)
    try:
        return render_tree(buffer, read_tree(buffer, reading or Limits()), request, limits)
    except MemoryError as error:
        raise LimitExceeded("This frame takes more memory than a picture may.") from error


def render_tree(
    buffer: Buffer, tree: PixelTree, request: RenderRequest, limits: PixelLimits | None = None
) -> Rendition:
    """Render one frame of a file that has been read already; parameters and errors are those of `render`."""
    limits = limits or PixelLimits()
    _check_request(request)
    header = read_header(tree.dataset, limits)
    check_frame_number(header, request.frame)
    _check_size(request, max(header.rows, header.columns), limits)
    warnings = list(header.warnings)
    decoded = decode_frame(buffer, tree, header, request.frame, limits, warnings)
    image, voi = _to_picture(tree, header, decoded, request, warnings)
    if request.region is not None:
        image = _cut(image, *request.region)
    if request.size is not None:
        # A stream may be far smaller than the dataset says, and so may the region that is shown.
        _check_size(request, max(image.shape[:2]), limits)
        image = encode.scale_to(image, request.size)
    is_png = request.format == "png"
    return Rendition(
        data=encode.encode_png(image) if is_png else encode.encode_jpeg(image, request.quality),
        media_type="image/png" if is_png else "image/jpeg",
        width=image.shape[1],
        height=image.shape[0],
        frame=request.frame,
        frames=header.frames,
        window=(voi.window.center, voi.window.width) if voi.window else None,
        window_function=voi.window.function if voi.window else None,
        window_source=voi.source,
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _check_request(request: RenderRequest) -> None:
    if request.window is not None and not (all(map(math.isfinite, request.window)) and request.window[1] > 0):
        raise Invalid("A window is a center and a width above 0.")
    if request.function is not None and request.function not in FUNCTIONS:
        raise Invalid(f"The function of a window is one of {', '.join(FUNCTIONS)}.")
    if request.size is not None and request.size < 1:
        raise Invalid("The size of a picture is at least 1 pixel.")
    if request.format not in ("png", "jpeg"):
        raise Invalid("A picture is a png or a jpeg.")
    if not 1 <= request.quality <= 100:
        raise Invalid("The quality of a picture is from 1 to 100.")


def _check_size(request: RenderRequest, longest: int, limits: PixelLimits) -> None:
    """Refuse a picture that would be enlarged too far; `longest` is the longest side of what it is made of."""
    if request.size is not None and request.size > max(limits.max_side, longest):
        raise Invalid(f"A picture has at most {max(limits.max_side, longest)} pixels a side.")


def _cut(image: NDArray[np.uint8], left: int, top: int, width: int, height: int) -> NDArray[np.uint8]:
    """Return a part of a picture, as much of it as is there, flipped where its width or height is negative."""
    part = image[max(top, 0) : max(top + abs(height), 0), max(left, 0) : max(left + abs(width), 0)]
    if part.shape[0] == 0 or part.shape[1] == 0:
        raise Invalid("There is no part of the picture in that region.")
    return np.ascontiguousarray(part[:: -1 if height < 0 else 1, :: -1 if width < 0 else 1])


def _to_picture(
    tree: PixelTree, header: ImageHeader, decoded: Decoded, request: RenderRequest, warnings: list[str]
) -> tuple[NDArray[np.uint8], Voi]:
    """Turn stored values into 8-bit grey or RGB, and say which window did it."""
    if decoded.samples.ndim == 3:
        if decoded.samples.shape[2] < 3:
            raise NotRenderable("Pixels of two samples have no colours that are known.")
        if request.window is not None or request.voi is not None:
            warnings.append("A picture in colour has no window; the one asked for was left out.")
        convert = partial(_to_rgb, photometric=decoded.photometric, bits=decoded.bits, warnings=warnings)
        return colour.convert_by_rows(decoded.samples, convert), Voi("none")
    dataset, read_bytes = tree.dataset, tree.read_bytes
    palette = _read_palette(dataset, read_bytes, warnings, signed=header.signed)
    if decoded.photometric == "PALETTE COLOR":
        if palette is None:
            raise NotRenderable("This object's colours are in a palette that it does not have.")
        first, tables = palette
        return colour.convert_by_rows(decoded.samples, partial(colour.apply_palette, first=first, tables=tables)), Voi(
            "none"
        )
    return _to_grey(dataset, read_bytes, decoded, request, palette, warnings)


def _to_grey(
    dataset: Mapping[str, Any],
    read_bytes: ReadBytes,
    decoded: Decoded,
    request: RenderRequest,
    palette: tuple[int, list[NDArray[np.uint8]]] | None,
    warnings: list[str],
) -> tuple[NDArray[np.uint8], Voi]:
    samples = decoded.samples
    # A Supplemental Palette colours the values from its first one on; those below are grey (PS3.3 C.7.6.19).
    coloured = None
    if palette is not None and text(dataset, "PixelPresentation") in ("COLOR", "MIXED"):
        coloured = samples >= palette[0]
    signed = samples.dtype.kind != "u"
    modality = grey.read_modality(dataset, request.frame, read_bytes, warnings, signed=signed)
    negative = modality.reaches_below_zero(signed=signed)
    offered = read_vois(dataset, request.frame, read_bytes, signed_input=negative)
    if request.window is not None:
        voi = _requested(request, offered)
    else:
        plain = samples if coloured is None else samples[~coloured]
        voi = choose_voi(offered, request.voi, warnings) or from_extremes(*grey.find_extremes(plain, modality))
    presentation = grey.read_presentation(dataset, decoded.photometric, read_bytes)
    image = grey.to_grey(samples, modality, voi, presentation)
    if palette is not None and coloured is not None and coloured.any():
        shades = np.repeat(image[..., None], 3, axis=2)
        image = np.where(coloured[..., None], colour.apply_palette(samples, *palette), shades)
    return image, voi


def _requested(request: RenderRequest, offered: list[Voi | None]) -> Voi:
    """Return the window that was asked for, with the file's function where none was named."""
    center, width = request.window or (0.0, 1.0)
    functions = [voi.window.function for voi in offered if voi is not None and voi.window is not None]
    named: Function = functions[0] if functions else "LINEAR"
    return Voi("request", Window(center, width, request.function or named).defined())


def _to_rgb(samples: NDArray[Any], photometric: str, bits: int, warnings: list[str]) -> NDArray[np.uint8]:
    """Turn the samples of a picture in colour into 8-bit RGB (PS3.3 C.7.6.3.1.2)."""
    image = colour.reduce_to_8_bits(samples, bits)
    if photometric in ("YBR_FULL", "YBR_FULL_422"):
        return colour.ybr_full_to_rgb(image)
    if photometric in ("YBR_PARTIAL_422", "YBR_PARTIAL_420"):
        return colour.ybr_partial_to_rgb(image)
    if photometric == "HSV":
        return colour.hsv_to_rgb(image)
    if photometric == "CMYK":
        return colour.cmyk_to_rgb(image)
    if photometric == "ARGB":
        return image[..., 1:4]
    if photometric != "RGB":
        warnings.append("(0028,0004) Photometric Interpretation does not fit these samples; they were taken as RGB.")
    return image[..., :3]


def _read_palette(
    dataset: Mapping[str, Any], read_bytes: ReadBytes, warnings: list[str], *, signed: bool
) -> tuple[int, list[NDArray[np.uint8]]] | None:
    """Read the three palettes, plain or segmented, as tables of 8-bit entries (PS3.3 C.7.6.3.1.5, C.7.9)."""
    luts: list[Lut] = []
    for primary in _PRIMARIES:
        name = f"{primary}PaletteColorLookupTable"
        lut = read_lut(dataset, f"{name}Descriptor", f"{name}Data", read_bytes, signed_input=signed)
        if lut is None:
            lut = read_segmented_lut(
                dataset, f"{name}Descriptor", f"Segmented{name}Data", read_bytes, signed_input=signed
            )
        if lut is None:
            return None
        luts.append(lut)
    bits = max(lut.bits for lut in luts)
    if bits > 8 and all(lut.entries.max() <= 255 for lut in luts):
        bits = 8
        warnings.append("The palette has entries of 8 bits, though its descriptor says 16.")
    return luts[0].first, [colour.reduce_to_8_bits(lut.entries, bits) for lut in luts]
