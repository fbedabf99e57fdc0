"""Files as Explicit VR Little Endian: every element and pixel is what it was; pydicom, DCMTK and GDCM judge."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom import data as wheel
from pydicom.encaps import encapsulate

from service.dicom.extract import read_tree
from service.dicom.limits import Limits
from service.dicom.pixels.limits import PixelLimits
from service.dicom.transcode import Conversion, to_explicit_little_endian
from service.errors import NotDicom, NotRenderable, ServiceError
from tests.dicom.kinds import KINDS, written
from tests.dicom.pixels.build import COLOUR, GREY_8, GREY_16, SIGNED_16, build_file, stream
from tests.dicom.pixels.encoders import IMAGES, LOSSLESS, convert
from tests.dicom.written import BIG, IMPLICIT, explicit, implicit, item, part10, plain

EXPLICIT = "1.2.840.10008.1.2.1"
SIZE = {"Rows": 24, "Columns": 20, "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11}
ROOT = Path(wheel.__file__).parent
FILES = sorted(
    path
    for folder in ("test_files", "charset_files")
    for path in (ROOT / folder).rglob("*")
    if path.is_file() and path.suffix not in (".py", ".pyc", ".dump", ".json", ".gz", ".icc", ".txt", ".zip", ".md")
    if not path.name.startswith("README")
)
REFUSED = {
    "J2K_pixelrep_mismatch.dcm": "stream and data set disagree on the sign",
    "JPEG2000-embedded-sequence-delimiter.dcm": "its only frame says that it is larger than a frame may be",
}
META = {
    *("FileMetaInformationGroupLength", "FileMetaInformationVersion", "TransferSyntaxUID"),
    *("MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "ImplementationClassUID"),
}
PADDED = {
    "nested_priv_SQ.dcm": "00010001",
    "meta_missing_tsyntax.dcm": "00010001",
    "MR_truncated.dcm": "PixelData",
    "rtplan_truncated.dcm": "BeamSequence",
}
"""Elements whose odd length becomes an even one, or that are whole now although the file was cut within them."""


def converted(content: bytes, **options: Any) -> bytes:
    conversion = to_explicit_little_endian(content, Limits(), PixelLimits(**options))
    made = b"".join(conversion.pieces())
    assert len(made) == conversion.length
    return made


def as_told(dataset: dict[str, Any]) -> dict[str, Any]:
    """What a tree says of each element, without its place in the file; group lengths are left out."""
    told = {}
    for key, element in dataset.items():
        if len(key) == 8 and key.endswith("0000"):
            continue
        kept = {name: value for name, value in element.items() if name != "offset"}
        if element["vr"] == "SQ" and "Value" in element:
            kept["Value"] = [as_told(each) for each in element["Value"]]
        told[key] = kept
    return told


def differing(content: bytes, made: bytes) -> set[str]:
    before, after = (as_told(read_tree(each, Limits()).dataset) for each in (content, made))
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)} - META


def pixels_of(content: bytes) -> np.ndarray | None:
    dataset = pydicom.dcmread(io.BytesIO(content), force=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return dataset.pixel_array
    except Exception:  # noqa: BLE001 - pydicom has no pixels, or cannot decode them
        return None


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_element_and_pixel_of_real_files_is_what_it_was(path):
    content = path.read_bytes()
    try:
        made = converted(content)
    except ServiceError:
        assert path.name in REFUSED
        return
    assert path.name not in REFUSED
    compressed = read_tree(content, Limits()).dataset.get("PixelData", {}).get("encapsulated", False)
    described = {"PixelData", "PhotometricInterpretation", "PlanarConfiguration"} if compressed else set()
    assert differing(content, made) <= described | {PADDED.get(path.name)}
    dataset = pydicom.dcmread(io.BytesIO(made))
    assert dataset.file_meta.TransferSyntaxUID == EXPLICIT
    dataset.decode()  # in the declared character set, as a reader would
    before = pixels_of(content)
    if before is not None:
        assert np.array_equal(pixels_of(made), before)


@pytest.mark.parametrize("syntax", ["implicit", "big", "deflated", "explicit"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_object_is_what_pydicom_and_dcmtk_write_in_explicit_vr_little_endian(kind, syntax, tmp_path):
    content = written(KINDS[kind](), syntax)
    made = converted(content)
    assert differing(content, made) == set()
    if syntax == "big":  # pydicom does not turn the words of OW and its like round
        wanted = convert(["dcmconv", "+te"], content, tmp_path)
    elif syntax == "implicit":  # pydicom does not know the VRs of private elements
        return
    else:
        wanted = written(KINDS[kind](), "explicit")
    assert pydicom.dcmread(io.BytesIO(made)) == pydicom.dcmread(io.BytesIO(wanted))


@pytest.mark.parametrize("command", LOSSLESS, ids=" ".join)
@pytest.mark.parametrize("image", IMAGES)
def test_what_dcmtk_or_gdcm_compressed_gives_the_pixels_of_the_uncompressed_file(image, command, tmp_path):
    content = IMAGES[image]
    compressed = convert(command, content, tmp_path)
    made, before = (pydicom.dcmread(io.BytesIO(each)) for each in (converted(compressed), content))
    assert np.array_equal(made.pixel_array, before.pixel_array)
    assert made.get("PlanarConfiguration", 0) == 0


@pytest.mark.parametrize(
    ("name", "syntax", "pixels"),
    [
        ("grey.htj2k", "1.2.840.10008.1.2.4.201", GREY_16),
        ("signed.htj2k", "1.2.840.10008.1.2.4.202", SIGNED_16),
        ("colour.htj2k", "1.2.840.10008.1.2.4.201", COLOUR),
        ("grey.j2k", "1.2.840.10008.1.2.4.90", GREY_16),
        ("colour.j2k", "1.2.840.10008.1.2.4.90", COLOUR),
        ("grey.jls", "1.2.840.10008.1.2.4.80", GREY_16),
        ("lossless_predictor_7.jpg", "1.2.840.10008.1.2.4.57", None),
        ("lossless_colour.jpg", "1.2.840.10008.1.2.4.70", COLOUR),
        ("grey_8.jxl", "1.2.840.10008.1.2.4.110", GREY_8),
    ],
)
def test_lossless_streams_give_the_pixels_that_were_encoded(name, syntax, pixels):
    like = GREY_16 if pixels is None else pixels
    options = {} if like.dtype == np.uint8 else {"BitsStored": 12, "HighBit": 11}
    if like is COLOUR and "2k" in name:
        options["PhotometricInterpretation"] = "YBR_RCT"
    made = pydicom.dcmread(io.BytesIO(converted(build_file(like, frames=[stream(name)], syntax=syntax, **options))))
    assert np.array_equal(made.pixel_array, like)
    assert made.PhotometricInterpretation == ("RGB" if like is COLOUR else "MONOCHROME2")
    assert ("OB" if like.dtype == np.uint8 else "OW") == made["PixelData"].VR


def test_from_any_place_on_the_bytes_are_those_of_the_whole():
    frames = np.stack([GREY_16, GREY_16[::-1], GREY_16[:, ::-1]])
    content = build_file(frames, BitsStored=12, HighBit=11, NumberOfFrames=3)
    for made in (
        to_explicit_little_endian(content, Limits(), PixelLimits()),
        to_explicit_little_endian(build_file(np.zeros((300, 300), np.uint16), syntax=BIG), Limits(), PixelLimits()),
    ):
        whole = b"".join(made.pieces())
        for start in (0, 1, 131, 132, 700, len(whole) // 2, len(whole) - 1001, len(whole) - 1):
            assert b"".join(made.pieces(start)) == whole[start:]
        assert list(made.pieces(len(whole))) == []


def test_one_frame_is_decoded_at_a_time(monkeypatch):
    decoded = []
    real = __import__("service.dicom.transcode", fromlist=["decode_frame"]).decode_frame

    def counted(buffer, tree, header, frame, *rest):
        decoded.append(frame)
        return real(buffer, tree, header, frame, *rest)

    monkeypatch.setattr("service.dicom.transcode.decode_frame", counted)
    content = build_file(
        np.stack([GREY_16] * 3), frames=[stream("grey.j2k")] * 3, syntax="1.2.840.10008.1.2.4.90",
        BitsStored=12, HighBit=11, NumberOfFrames=3,
    )  # fmt: skip
    conversion = to_explicit_little_endian(content, Limits(), PixelLimits())
    assert decoded == [0]  # what its colours are
    decoded.clear()
    again = to_explicit_little_endian(content, Limits(), PixelLimits(), conversion.photometric)
    assert decoded == []
    for number, _ in enumerate(piece for piece in again.pieces() if len(piece) == GREY_16.nbytes):
        assert decoded == list(range(number + 1))
    assert len(decoded) == 3


def test_single_bits_run_on_from_frame_to_frame():
    bits = np.random.default_rng(7).integers(0, 2, (11, 3, 5), dtype=np.uint8)
    packed = [np.packbits(frame.reshape(-1), bitorder="little").tobytes() for frame in bits]
    content = build_file(
        bits,
        frames=packed,
        syntax="1.2.840.10008.1.2.1.98",
        NumberOfFrames=11,
        BitsAllocated=1,
        BitsStored=1,
        HighBit=0,
    )
    made = converted(content)
    assert np.array_equal(pydicom.dcmread(io.BytesIO(made)).pixel_array, bits)


def test_an_icon_in_a_compressed_file_is_decoded_too():
    dataset = pydicom.dcmread(io.BytesIO(build_file(
        GREY_16, frames=[stream("grey.j2k")], syntax="1.2.840.10008.1.2.4.90", BitsStored=12, HighBit=11
    )))  # fmt: skip
    icon = pydicom.Dataset()
    for keyword in ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored"):
        setattr(icon, keyword, dataset[keyword].value)
    icon.HighBit, icon.PixelRepresentation = 11, 0
    icon.add_new("PixelData", "OB", encapsulate([stream("grey.j2k")]))
    icon["PixelData"].is_undefined_length = True
    dataset.IconImageSequence = [icon]
    target = io.BytesIO()
    dataset.save_as(target)
    made = pydicom.dcmread(io.BytesIO(converted(target.getvalue())))
    assert made.IconImageSequence[0].PixelData == GREY_16.tobytes()
    assert made.PixelData == GREY_16.tobytes()


def test_private_and_unknown_elements_are_un_and_their_sequences_are_kept():
    content = part10(
        implicit(0x00080018, b"1.2.3\0")
        + implicit(0x00090010, b"NOBODY")
        + implicit(0x00091001, b"\1\2\3")
        + implicit(0x00091004, item(implicit(0x00080060, b"CT"), undefined=True) + implicit(0xFFFEE0DD), 0xFFFFFFFF),
        IMPLICIT,
    )
    made = pydicom.dcmread(io.BytesIO(converted(content)))
    assert made[0x00090010].VR == "LO"
    assert (made[0x00091001].VR, made[0x00091001].value) == ("UN", b"\1\2\3\0")
    assert (made[0x00091004].VR, made[0x00091004].value[0].Modality) == ("SQ", "CT")


def test_a_value_that_is_too_long_for_its_vr_is_un():
    content = part10(implicit(0x00080018, b"1.2.3\0") + implicit(0x00104000, b"y" * 70_001), IMPLICIT)
    made = converted(content)
    dataset = pydicom.dcmread(io.BytesIO(made))
    assert dataset[0x00104000].value == b"y" * 70_001 + b" "
    assert struct.pack("<HH2sHL", 0x0010, 0x4000, b"UN", 0, 70_002) in made


def test_group_lengths_go_and_the_first_of_two_same_elements_stays():
    content = part10(
        explicit(0x00080000, "UL", struct.pack("<L", 999), order=">")
        + explicit(0x00080060, "CS", b"CT", order=">")
        + explicit(0x00080060, "CS", b"MR", order=">"),
        BIG,
    )
    made = pydicom.dcmread(io.BytesIO(converted(content)))
    assert [element.tag for element in made] == [0x00080060]
    assert made.Modality == "CT"


def test_a_file_without_meta_gets_what_ps3_10_asks_of_every_file():
    made = pydicom.dcmread(io.BytesIO(converted(plain())))
    meta = made.file_meta
    assert meta.MediaStorageSOPClassUID == made.SOPClassUID
    assert meta.MediaStorageSOPInstanceUID == made.SOPInstanceUID == "1.2.3.4"
    assert meta.ImplementationClassUID.is_valid
    pydicom.dataset.validate_file_meta(meta, enforce_standard=True)


@pytest.mark.parametrize(
    "content",
    [
        build_file(frames=[b"\0\0\0\1"], syntax="1.2.840.10008.1.2.4.102", Rows=2, Columns=2, BitsAllocated=8),
        build_file(GREY_16, frames=[b"no stream"], syntax="1.2.840.10008.1.2.4.90"),
        build_file(GREY_16, frames=[stream("grey.j2k")[:60]], syntax="1.2.840.10008.1.2.4.90"),
        build_file(GREY_8, frames=[stream("grey.j2k")], syntax="1.2.840.10008.1.2.4.90", Rows=9),
        build_file(frames=[stream("grey.j2k")], syntax="1.2.840.10008.1.2.4.90", NumberOfFrames=2, **SIZE),
        build_file(frames=[stream("grey.j2k")], syntax="1.2.840.10008.1.2.4.90", NumberOfFrames=9_000_000, **SIZE),
        build_file(GREY_16, frames=[b"\1" + bytes(63) + b"\5"], syntax="1.2.840.10008.1.2.5"),
    ],
    ids=["video", "no stream", "cut stream", "another size", "missing frame", "more than 4 GiB", "cut RLE"],
)
def test_pixel_data_that_is_not_what_its_attributes_say_is_refused(content):
    with pytest.raises(NotRenderable):
        converted(content)


def test_what_is_no_dicom_is_refused():
    with pytest.raises(NotDicom):
        to_explicit_little_endian(b"%PDF-1.4 and so on", Limits(), PixelLimits())
    assert isinstance(to_explicit_little_endian(plain(), Limits(), PixelLimits()), Conversion)


@pytest.mark.skipif(shutil.which("dcmdump") is None, reason="dcmdump (DCMTK) is not installed")
@pytest.mark.parametrize("name", ["MR_small_bigendian.dcm", "rtplan.dcm", "SC_rgb_rle_2frame.dcm", "reportsi.dcm"])
def test_dcmtk_reads_what_was_made_without_a_complaint(name, tmp_path):
    (tmp_path / "made.dcm").write_bytes(converted((ROOT / "test_files" / name).read_bytes()))
    done = subprocess.run(["dcmdump", str(tmp_path / "made.dcm")], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
