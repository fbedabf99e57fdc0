"""What a dataset says of its pixels: the Image Pixel Module (PS3.3 C.7.6.3), checked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from service.dicom.pixels.attributes import integer, is_present, text
from service.dicom.pixels.limits import PixelLimits
from service.dicom.uids import transfer_syntax_of
from service.errors import NotRenderable

EXPLICIT_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
EXPLICIT_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
DEFLATED_DATASET: Final = "1.2.840.10008.1.2.1.99"
DEFLATED_FRAME: Final = "1.2.840.10008.1.2.8.1"
ENCAPSULATED_UNCOMPRESSED: Final = "1.2.840.10008.1.2.1.98"
RLE_LOSSLESS: Final = "1.2.840.10008.1.2.5"
# Implicit little endian with big-endian pixels: GE's private syntax.
_GE_BIG_ENDIAN_PIXELS: Final = "1.2.840.113619.5.2"
_IMPLICIT_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
_VIDEO = frozenset(f"1.2.840.10008.1.2.4.{n}{part}" for n in range(100, 109) for part in ("", ".1"))
_NATIVE = frozenset(
    {"", _IMPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN, DEFLATED_DATASET, _GE_BIG_ENDIAN_PIXELS}
)
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_HALVED = ("YBR_FULL_422", "YBR_PARTIAL_422")
_FLOAT_BITS = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}
_SAMPLES = {"MONOCHROME1": 1, "MONOCHROME2": 1, "PALETTE COLOR": 1, "ARGB": 4, "CMYK": 4}


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """The attributes that describe pixels, with their defaults filled in.

    Parameters
    ----------
    keyword : str
        The element that holds the pixels.
    transfer_syntax_uid : str
        As the file says; empty where it says nothing that is a UID.
    rows, columns, frames, samples : int
        Each at least 1.
    photometric : str
        Photometric Interpretation, in upper case.
    planar_configuration, bits_allocated, bits_stored, high_bit : int
        As PS3.3 C.7.6.3 has them.
    signed : bool
        Pixel Representation is 1.
    warnings : tuple of str
        What was missing or wrong, and was filled in.
    """

    keyword: str
    transfer_syntax_uid: str
    rows: int
    columns: int
    frames: int
    samples: int
    photometric: str
    planar_configuration: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    warnings: tuple[str, ...] = ()

    @property
    def is_float(self) -> bool:
        """Whether pixels are IEEE 754 numbers (PS3.3 C.7.6.24, C.7.6.25)."""
        return self.keyword in _FLOAT_BITS

    @property
    def is_native(self) -> bool:
        """Whether the transfer syntax keeps pixels uncompressed."""
        return self.transfer_syntax_uid in _NATIVE

    @property
    def is_big_endian(self) -> bool:
        """Whether native pixels stand in big-endian words."""
        return self.transfer_syntax_uid in (EXPLICIT_BIG_ENDIAN, _GE_BIG_ENDIAN_PIXELS)

    @property
    def is_halved(self) -> bool:
        """Whether native pixels share their colour with a neighbour (PS3.3 C.7.6.3.1.2)."""
        return self.photometric in _HALVED and self.samples == 3 and self.columns % 2 == 0

    @property
    def frame_samples(self) -> int:
        """Samples of one frame as native pixels store it."""
        return self.rows * self.columns * (2 if self.is_halved else self.samples)


def read_header(dataset: Mapping[str, Any], limits: PixelLimits) -> ImageHeader:
    """Read the description of a dataset's pixels.

    Raises
    ------
    NotRenderable
        Where there are no pixels, they are video, or what they need is missing or no number.
    LimitExceeded
        Where one frame is too large.
    """
    keyword = next((name for name in _PIXELS if is_present(dataset, name)), None)
    if keyword is None:
        raise NotRenderable("This object has no pixels.")
    warnings: list[str] = []
    syntax = transfer_syntax_of(dataset) or ""
    if syntax in _VIDEO:
        raise NotRenderable("The pixels are video (MPEG or HEVC), which is not rendered.")
    rows, columns = _extent(dataset, "Rows", "(0028,0010) Rows"), _extent(dataset, "Columns", "(0028,0011) Columns")
    photometric, samples = _colour_model(dataset, warnings)
    limits.check_frame(columns, rows, samples)
    allocated = _FLOAT_BITS.get(keyword) or integer(dataset, "BitsAllocated")
    frames = _frames(dataset, warnings)
    if not allocated:
        allocated = _guess_bits(dataset[keyword], rows * columns * samples * frames)
        warnings.append(f"(0028,0100) Bits Allocated is missing, and was taken to be {allocated}.")
    if not (1 <= allocated <= 16 or allocated in (32, 64)):
        raise NotRenderable(f"Pixels of {allocated} bits cannot be read.")
    stored, high_bit = _precision(dataset, allocated, warnings)
    element = dataset[keyword]
    if photometric in _HALVED and not element.get("encapsulated"):
        whole = rows * columns * samples * frames * allocated // 8
        if _length(element) >= whole:
            photometric = photometric.removesuffix("_422") + ("_420" if "PARTIAL" in photometric else "")
            warnings.append(
                "Each pixel has its own colour, though (0028,0004) Photometric Interpretation has it shared."
            )
    return ImageHeader(
        keyword=keyword,
        transfer_syntax_uid=syntax,
        rows=rows,
        columns=columns,
        frames=frames,
        samples=samples,
        photometric=photometric,
        planar_configuration=1 if integer(dataset, "PlanarConfiguration") == 1 else 0,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=high_bit,
        signed=integer(dataset, "PixelRepresentation") == 1,
        warnings=tuple(warnings),
    )


def _extent(dataset: Mapping[str, Any], keyword: str, name: str) -> int:
    found = integer(dataset, keyword)
    if found is None:
        raise NotRenderable(f"{name} is missing or not a number.")
    if not 1 <= found <= 65535:
        raise NotRenderable(f"{name} is not from 1 to 65535.")
    return found


def _frames(dataset: Mapping[str, Any], warnings: list[str]) -> int:
    found = integer(dataset, "NumberOfFrames")
    if found is not None and found >= 1:
        return found
    if is_present(dataset, "NumberOfFrames"):
        warnings.append("(0028,0008) Number of Frames is not a number above 0, and was taken to be 1.")
    return 1


def _colour_model(dataset: Mapping[str, Any], warnings: list[str]) -> tuple[str, int]:
    photometric = text(dataset, "PhotometricInterpretation")
    samples = integer(dataset, "SamplesPerPixel")
    if not photometric:
        photometric = "RGB" if samples == 3 else "MONOCHROME2"
        warnings.append(f"(0028,0004) Photometric Interpretation is missing, and was taken to be {photometric}.")
    expected = _SAMPLES.get(photometric, 3)
    if samples is None:
        return photometric, expected
    if not 1 <= samples <= 4:
        raise NotRenderable("(0028,0002) Samples per Pixel is not from 1 to 4.")
    if samples != expected:
        warnings.append("(0028,0002) Samples per Pixel does not fit the Photometric Interpretation.")
        if samples in (1, 3):
            photometric = "RGB" if samples == 3 else "MONOCHROME2"
    return photometric, samples


def _guess_bits(element: Mapping[str, Any], samples: int) -> int:
    return 16 if element.get("encapsulated") or _length(element) >= 2 * samples else 8


def _length(element: Mapping[str, Any]) -> int:
    return int(element.get("length") or len(element.get("InlineBinary") or b""))


def _precision(dataset: Mapping[str, Any], allocated: int, warnings: list[str]) -> tuple[int, int]:
    stored = integer(dataset, "BitsStored")
    if stored is None or not 1 <= stored <= allocated:
        if is_present(dataset, "BitsStored"):
            warnings.append(f"(0028,0101) Bits Stored does not fit, and was taken to be {allocated}.")
        stored = allocated
    high_bit = integer(dataset, "HighBit")
    if high_bit is None or not stored - 1 <= high_bit < allocated:
        if is_present(dataset, "HighBit"):
            warnings.append(f"(0028,0102) High Bit does not fit, and was taken to be {stored - 1}.")
        high_bit = stored - 1
    return stored, high_bit
