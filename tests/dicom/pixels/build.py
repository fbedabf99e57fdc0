"""Files and pictures that the tests make, and reading back what comes out."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian

STREAMS = Path(__file__).parent / "streams"
WHEEL = Path(pydicom.__file__).parent / "data" / "test_files"

JPEG_XL_SYNTAXES = tuple(f"1.2.840.10008.1.2.4.{n}" for n in (110, 111, 112))

# What every stream in `streams` was encoded from, losslessly unless its name says otherwise: by imagecodecs 2026.3.6,
# the .jxl but grey_12 by cjxl 0.7. The names `bars_…` hold BARS in 16 bits, with a loss that leads past 12 bits.
_DOWN, _ACROSS = np.mgrid[0:24, 0:20]
GREY_16 = ((_ACROSS * 37 + _DOWN * 53) % 4096).astype(np.uint16)
GREY_8 = ((_ACROSS * 7 + _DOWN * 5) % 256).astype(np.uint8)
SIGNED_16 = ((_ACROSS * 37 + _DOWN * 53) % 4096 - 2048).astype(np.int16)
SMOOTH_12 = (2000 + 1500 * np.sin(_ACROSS / 7) * np.cos(_DOWN / 9)).astype(np.uint16)
COLOUR = np.stack([(_ACROSS * 11) % 256, (_DOWN * 9) % 256, (_ACROSS * _DOWN) % 256], axis=-1).astype(np.uint8)
_SMOOTH_8 = (128 + 100 * np.sin(_ACROSS / 7) * np.cos(_DOWN / 9)).astype(np.uint8)
FULL_16 = ((_ACROSS * 3700 + _DOWN * 53) % 65536).astype(np.uint16)
BARS = np.zeros((32, 32), np.uint16)
BARS[8:24, 8:24] = BARS[::5, ::3] = 4095
SMOOTH_8 = _SMOOTH_8
SMOOTH_COLOUR = np.stack([_SMOOTH_8, 255 - _SMOOTH_8, _SMOOTH_8 // 2], axis=-1)


def stream(name: str) -> bytes:
    return (STREAMS / name).read_bytes()


def build_file(
    pixels: np.ndarray | None = None,
    *,
    data: bytes | None = None,
    frames: list[bytes] | None = None,
    encapsulated: bytes | None = None,
    syntax: str = ExplicitVRLittleEndian,
    vr: str = "OW",
    **elements: Any,
) -> bytes:
    """Build a file around an array (frames first where NumberOfFrames is given), its bytes, or compressed frames."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    # pydicom does not write what it does not know, so a syntax of the same length stands in its place.
    known = "1.2.840.10008.1.2.4.201" if syntax in JPEG_XL_SYNTAXES else syntax
    meta.TransferSyntaxUID = known
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelRepresentation = 0
    if pixels is not None:
        shape = pixels.shape[1:] if "NumberOfFrames" in elements else pixels.shape
        dataset.Rows, dataset.Columns = shape[:2]
        if len(shape) == 3:
            dataset.SamplesPerPixel, dataset.PhotometricInterpretation = shape[2], "RGB"
            dataset.PlanarConfiguration = 0
        if pixels.dtype.kind in "iu":
            dataset.BitsAllocated = dataset.BitsStored = pixels.dtype.itemsize * 8
            dataset.HighBit = dataset.BitsStored - 1
            dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
        if data is None and frames is None and encapsulated is None:
            data = pixels.tobytes()
    if pixels is not None and pixels.dtype.kind == "f":
        name = "FloatPixelData" if pixels.dtype.itemsize == 4 else "DoubleFloatPixelData"
        setattr(dataset, name, pixels.tobytes())
    elif data is not None:
        dataset.add_new("PixelData", vr, data + b"\0" * (len(data) % 2))
    elif frames is not None or encapsulated is not None:
        dataset.add_new("PixelData", "OB", encapsulate(frames) if encapsulated is None else encapsulated)
        dataset["PixelData"].is_undefined_length = True
    for tag, value in elements.pop("tags", {}).items():
        dataset.add_new(tag, dictionary_VR(tag), value)
    for keyword, value in elements.items():
        if value is None:
            if keyword in dataset:
                delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    target = io.BytesIO()
    big = syntax == "1.2.840.10008.1.2.2"
    dataset.save_as(target, enforce_file_format=True, little_endian=not big, implicit_vr=syntax == "1.2.840.10008.1.2")
    return target.getvalue().replace(known.encode(), syntax.encode(), 1)


def lut_item(descriptor: list[int], entries: Any, vr: str = "US") -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", vr, descriptor)
    item.add_new("LUTData", "OW", np.asarray(entries, dtype="<u2").tobytes())
    item.ModalityLUTType = "US"
    return item


def palette(descriptor: list[int], *tables: Any, segmented: bool = False, dtype: str = "<u2") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for colour, entries in zip(("Red", "Green", "Blue"), tables, strict=True):
        name = f"{colour}PaletteColorLookupTable"
        found[f"{name}Descriptor"] = descriptor
        content = np.asarray(entries, dtype=dtype).tobytes()
        found[f"Segmented{name}Data" if segmented else f"{name}Data"] = content + b"\0" * (len(content) % 2)
    return found


def item(tag: bytes, content: bytes) -> bytes:
    return tag + len(content).to_bytes(4, "little") + content


def fragments(*parts: bytes, table: bytes = b"") -> bytes:
    """Encapsulate fragments as they are, with an offset table of any content."""
    items = [item(b"\xfe\xff\x00\xe0", part + b"\0" * (len(part) % 2)) for part in (table, *parts)]
    return b"".join(items)


def picture(content: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(content))
    image.load()
    return np.asarray(image)
