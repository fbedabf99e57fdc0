"""One compressed frame to stored values, by what its stream is rather than by what the file calls it.

The decoders are permissively licensed: libjpeg-turbo through Pillow for 8-bit JPEG, GDCM for 12-bit and lossless JPEG,
CharLS for JPEG-LS, OpenJPEG for JPEG 2000 and HTJ2K, libjxl through pyjpegxl for JPEG XL. pylibjpeg-libjpeg (GPL) is
used where it is installed and GDCM gives up.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import gdcm
import jpeg_ls
import numpy as np
import pyjpegxl
from numpy.typing import NDArray
from openjpeg.utils import decode as decode_openjpeg
from PIL import Image

from service.dicom.pixels.codestream import Codestream, jpeg_2000_part, read_codestream
from service.dicom.pixels.header import ImageHeader
from service.dicom.pixels.isolate import run_isolated
from service.dicom.pixels.limits import PixelLimits
from service.dicom.pixels.native import extract_samples
from service.errors import LimitExceeded, NotRenderable

_JPEG_EXTENDED: Final = "1.2.840.10008.1.2.4.51"
_JPEG_LOSSLESS: Final = "1.2.840.10008.1.2.4.57"
_JPEG_XL_LOSSLESS: Final = "1.2.840.10008.1.2.4.110"
# They allow a loss whatever the wavelet is: one that is reversible loses what is cut off (PS3.5 8.2.4, 8.2.14).
_MAY_LOSE: Final = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (91, 93, 203))
_SPARE_SAMPLES = 1 << 20
_END_OF_IMAGE = b"\xff\xd9"

for _stream in (gdcm.Trace.DebugOff, gdcm.Trace.WarningOff, gdcm.Trace.ErrorOff):
    _stream()  # GDCM writes to the process's own output, past every logger


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """The stored values of one frame.

    Parameters
    ----------
    samples : ndarray
        (rows, columns), or (rows, columns, samples) of several samples.
    photometric : str
        What they mean: the Photometric Interpretation after decoding.
    bits : int
        Their precision.
    """

    samples: NDArray[Any]
    photometric: str
    bits: int


def decode_codestream(data: bytes, header: ImageHeader, limits: PixelLimits, warnings: list[str]) -> Decoded:
    """Decode a JPEG, JPEG-LS, JPEG 2000, HTJ2K or JPEG XL frame.

    Parameters
    ----------
    data : bytes
        The compressed frame.
    header : ImageHeader
        What the dataset says of it.
    limits : PixelLimits
        The stream's own size is held to them before anything is decoded.
    warnings : list of str
        Where stream and dataset disagree, that is noted here.

    Raises
    ------
    NotRenderable
        Where the stream is of an unknown kind, or broken.
    LimitExceeded
        Where it claims to be too large.
    """
    stream = read_codestream(data)
    if stream is None:
        raise NotRenderable("The compression of this frame is not one that can be decoded here.")
    if not stream.columns > 0 < stream.rows:
        raise NotRenderable("The compressed frame does not say how large it is.")
    limits.check_frame(stream.columns, stream.rows, stream.samples)
    if stream.columns * stream.rows * stream.samples > 4 * header.frame_samples + _SPARE_SAMPLES:
        raise LimitExceeded("The compressed frame claims to be several times larger than the dataset says.")
    if stream.samples not in (1, 3, 4):
        raise NotRenderable(f"The compressed frame has {stream.samples} samples a pixel, which have no meaning.")
    _compare(stream, header, warnings)
    photometric = _photometric(stream, header)
    decoder = "jpeg-12" if stream.kind == "jpeg" and stream.precision > 8 else stream.kind
    try:
        samples = _DECODERS[decoder](data, stream, photometric)
    except NotRenderable:
        raise
    except (ValueError, RuntimeError, OSError, SyntaxError) as error:
        raise NotRenderable(f"The {_NAMES[stream.kind]} stream of this frame cannot be decoded.") from error
    if photometric.startswith("YBR") and decoder == "jpeg":
        photometric = "RGB"
    return Decoded(_fit_precision(samples, stream, header), photometric, min(stream.precision, header.bits_stored))


def inflate_frame(data: bytes, size: int) -> bytes:
    """Inflate a frame of the Deflated Image Frame Compression (PS3.5 A.4.13), to at most `size` bytes.

    Raises
    ------
    NotRenderable
        Where it is not deflated data.
    """
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size)
    except zlib.error as error:
        raise NotRenderable("The deflated frame cannot be inflated.") from error


def _compare(stream: Codestream, header: ImageHeader, warnings: list[str]) -> None:
    if (stream.columns, stream.rows) != (header.columns, header.rows):
        warnings.append("The compressed frame has another size than the dataset says; its own was used.")
    if stream.samples != header.samples:
        warnings.append("The compressed frame has another number of samples than the dataset says; its own was used.")
    if stream.kind == "jpeg-2000" and stream.signed != header.signed:
        warnings.append("The compressed frame and (0028,0103) Pixel Representation disagree on the sign.")


def _photometric(stream: Codestream, header: ImageHeader) -> str:
    """Return the colour model of what the stream holds.

    JPEG streams tell it better than the dataset, which is often not kept up to date (PS3.5 8.2.1 asks that both agree);
    one that says nothing is believed to be what the dataset says, but subsampled components can only be YCbCr. JPEG
    2000 undoes its own transformation (PS3.5 8.2.4).
    """
    named = header.photometric
    if stream.samples == 1:
        return named if header.samples == 1 else "MONOCHROME2"
    if stream.kind == "jpeg-xl":
        # XYB and a recompressed JPEG's YCbCr are undone by the decoder (PS3.5 8.2.15).
        return named if named == "YBR_FULL" and header.transfer_syntax_uid == _JPEG_XL_LOSSLESS else "RGB"
    if stream.samples == 4:
        return "ARGB" if named == "ARGB" else "CMYK"
    if stream.kind == "jpeg":
        is_ybr = stream.transformed
        if is_ybr is None:
            is_ybr = stream.subsampled or named != "RGB"
        return "YBR_FULL" if is_ybr else "RGB"
    if header.samples != 3 or named in ("YBR_ICT", "YBR_RCT"):
        return "RGB"
    return "YBR_FULL" if named == "YBR_FULL_422" else named


def _fit_precision(samples: NDArray[Any], stream: Codestream, header: ImageHeader) -> NDArray[Any]:
    """Read decoded values as the dataset's Bits Stored, High Bit and Pixel Representation say (PS3.5 8.1.1).

    Only JPEG 2000 streams can be signed; whatever else holds two's complement holds it in unsigned samples. A lossy
    stream of more bits than are stored may lead past them, and what does is the nearest value that can be stored;
    elsewhere the bits above them mean something else.
    """
    saturates = stream.precision > header.bits_stored and _is_lossy(stream, header)
    if samples.dtype.kind == "i":
        half = 1 << (header.bits_stored - 1)
        return samples.clip(-half, half - 1) if saturates and header.signed else samples
    if not header.signed and stream.precision <= header.bits_stored:
        return samples
    width = samples.dtype.itemsize * 8
    stored = min(header.bits_stored, width)
    high_bit = header.high_bit if stored <= header.high_bit + 1 <= stream.precision else stored - 1
    if saturates and not header.signed and high_bit == stored - 1:
        return samples.clip(max=samples.dtype.type((1 << stored) - 1))
    return extract_samples(samples, stored, high_bit, header.signed and header.bits_stored <= width)


def _is_lossy(stream: Codestream, header: ImageHeader) -> bool:
    """Return whether decoded values may differ from those that were encoded."""
    if stream.kind == "jpeg-xl":
        return header.transfer_syntax_uid != _JPEG_XL_LOSSLESS
    return stream.lossy or (stream.kind == "jpeg-2000" and header.transfer_syntax_uid in _MAY_LOSE)


def _decode_jpeg(data: bytes, stream: Codestream, photometric: str) -> NDArray[Any]:
    """Decode 8-bit JPEG by libjpeg-turbo, told which colours the stream holds; YCbCr becomes RGB there."""
    size = (stream.columns, stream.rows)
    # A stream that is cut is ended here, so that what there is of it is decoded.
    data += _END_OF_IMAGE
    if stream.samples == 1:
        image = Image.frombytes("L", size, data, "jpeg", "L", "")
    elif stream.samples == 3:
        image = Image.frombytes("RGB", size, data, "jpeg", "RGB", "RGB" if photometric == "RGB" else "YCbCr")
    else:
        image = Image.frombytes("CMYK", size, data, "jpeg", "CMYK", "")
        # Adobe, whose marker it is, writes no ink as 255.
        return 255 - np.asarray(image) if stream.transformed is not None else np.asarray(image)
    return np.asarray(image)


def _decode_gdcm(data: bytes, stream: Codestream, photometric: str) -> NDArray[Any]:
    """Decode 12-bit or lossless JPEG by GDCM, which is told what the stream says of itself."""
    width = 1 if stream.precision <= 8 else 2
    expected = stream.rows * stream.columns * stream.samples * width
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(data + b"\0" * (len(data) % 2))
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((stream.columns, stream.rows, 1))
    image.SetDataElement(element)
    model = "MONOCHROME2" if stream.samples == 1 else "RGB" if photometric == "RGB" else "YBR_FULL"
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.GetPIType(model)))
    if stream.samples > 1:
        image.SetPlanarConfiguration(0)
    syntax = _JPEG_LOSSLESS if stream.kind == "jpeg-lossless" else _JPEG_EXTENDED
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    image.SetPixelFormat(gdcm.PixelFormat(stream.samples, 8 * width, stream.precision, stream.precision - 1, 0))

    def decode() -> bytes:
        # GDCM gives its bytes as text, and nothing where it fails.
        return (image.GetBuffer() or "").encode("utf-8", "surrogateescape")

    decoded = run_isolated(decode, _count_samples(stream))
    if len(decoded) != expected:
        return _decode_libjpeg(data)
    shape = (stream.rows, stream.columns) if stream.samples == 1 else (stream.rows, stream.columns, stream.samples)
    return np.frombuffer(decoded, dtype=f"<u{width}").reshape(shape)


def _count_samples(stream: Codestream) -> int:
    """Return how many samples a stream holds at most; the rows of a JPEG stream may be told behind them."""
    return (stream.rows or 0xFFFF) * stream.columns * stream.samples


def _decode_libjpeg(data: bytes) -> NDArray[Any]:
    """Decode by pylibjpeg-libjpeg, an extra that need not be installed."""
    try:
        libjpeg = importlib.import_module("libjpeg")
    except ImportError as error:
        raise NotRenderable("The JPEG stream of this frame cannot be decoded.") from error
    decoded: NDArray[Any] = libjpeg.decode(data, colour_transform=0)
    return decoded


def _decode_jpeg_ls(data: bytes, stream: Codestream, _photometric: str) -> NDArray[Any]:
    """Decode JPEG-LS by CharLS."""

    def decode() -> bytes:
        pixels, info = jpeg_ls.decode_buffer(data)
        return b"".join((bytes([info["interleave_mode"]]), pixels))

    answer = run_isolated(decode, _count_samples(stream))
    if not answer:
        raise NotRenderable("The JPEG-LS stream of this frame cannot be decoded.")
    flat = np.frombuffer(answer, dtype=np.uint8 if stream.precision <= 8 else "<u2", offset=1)
    if stream.samples == 1:
        return flat.reshape(stream.rows, stream.columns)
    if answer[0] == 0:  # by plane (ISO 14495-1 C.2.3)
        return flat.reshape(stream.samples, stream.rows, stream.columns).transpose(1, 2, 0)
    return flat.reshape(stream.rows, stream.columns, stream.samples)


def _decode_jpeg_2000(data: bytes, _stream: Codestream, _photometric: str) -> NDArray[Any]:
    """Decode JPEG 2000 or HTJ2K by OpenJPEG."""
    decoded: NDArray[Any] = decode_openjpeg(jpeg_2000_part(data), 0)
    return decoded


def _decode_jpeg_xl(data: bytes, stream: Codestream, _photometric: str) -> NDArray[Any]:
    """Decode JPEG XL by libjxl, as samples of the stream's own precision and without an alpha channel."""
    width = 1 if stream.precision <= 8 else 2

    def decode() -> bytes:
        pyjpegxl.set_num_threads(1)
        _, pixels = pyjpegxl.decode_to_numpy(data, dtype=f"uint{8 * width}")
        return np.ascontiguousarray(pixels[..., : stream.samples]).tobytes()

    decoded = np.frombuffer(run_isolated(decode, _count_samples(stream)), dtype=f"<u{width}")
    if decoded.size != stream.rows * stream.columns * stream.samples:
        raise NotRenderable("The JPEG XL stream of this frame cannot be decoded.")
    if stream.precision != 8 * width:
        # libjxl scales samples of other widths to what bytes or words hold.
        largest, scale = (1 << stream.precision) - 1, (1 << 8 * width) - 1
        decoded = ((decoded.astype(np.uint32) * largest + scale // 2) // scale).astype(decoded.dtype)
    shape = (stream.rows, stream.columns) if stream.samples == 1 else (stream.rows, stream.columns, stream.samples)
    return decoded.reshape(shape)


_DECODERS: dict[str, Callable[[bytes, Codestream, str], NDArray[Any]]] = {
    "jpeg": _decode_jpeg,
    "jpeg-12": _decode_gdcm,
    "jpeg-lossless": _decode_gdcm,
    "jpeg-ls": _decode_jpeg_ls,
    "jpeg-2000": _decode_jpeg_2000,
    "jpeg-xl": _decode_jpeg_xl,
}
_NAMES = {
    "jpeg": "JPEG",
    "jpeg-lossless": "lossless JPEG",
    "jpeg-ls": "JPEG-LS",
    "jpeg-2000": "JPEG 2000",
    "jpeg-xl": "JPEG XL",
}
