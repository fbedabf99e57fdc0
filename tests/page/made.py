"""Files for the page to show: series of slices, and pictures of every kind."""

import copy
from pathlib import Path

import numpy as np
import pydicom
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.sequence import Sequence

ROOT_UID = "1.2.826.0.1.3680043.9.8"


def read(name):
    return pydicom.dcmread(str(get_testdata_file(name, download=False)))


def content_of(name):
    return Path(str(get_testdata_file(name, download=False))).read_bytes()


def written(dataset):
    target = DicomBytesIO()
    dataset.save_as(target)
    return target.getvalue()


def placed(dataset, series, instance):
    """Give a dataset UIDs of its own."""
    dataset.StudyInstanceUID = f"{ROOT_UID}.{series // 100}"
    dataset.SeriesInstanceUID = f"{ROOT_UID}.{series // 100}.{series}"
    dataset.SOPInstanceUID = f"{ROOT_UID}.{series // 100}.{series}.{instance}"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.SeriesNumber, dataset.InstanceNumber = series, instance
    return dataset


def ct_slices(count, series=100, **values):
    """Slices of one series, whose numbers run against their positions; the lower half of them is thin."""
    dataset = read("CT_small.dcm")
    pixels = dataset.pixel_array
    dataset.SeriesDescription, dataset.StudyDescription = "Thorax thin and thick", "CT thorax"
    dataset.PatientName = "Muster^Maria"
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    for number in range(1, count + 1):
        placed(dataset, series, number)
        dataset.ImagePositionPatient[2] = dataset.SliceLocation = -2 * number
        dataset.SliceThickness = 5 if number <= count // 2 else 1.5
        dataset.PixelData = np.roll(pixels, 3 * number, axis=1).tobytes()
        yield f"slice-{number:03}.dcm", written(dataset)


def lut(entries, first, bits, vr="US"):
    item = Dataset()
    item.add_new("LUTDescriptor", vr, [len(entries) % 65536, first, bits])
    item.add_new("LUTData", "OW", np.asarray(entries, "<u2").tobytes())
    return item


def pictures():
    """Pictures of each kind: name, dataset, and the frames to look at."""
    ct = read("CT_small.dcm")
    for name, frames in (
        ("CT_small.dcm", [1]), ("MR_small.dcm", [1]), ("MR_small_bigendian.dcm", [1]), ("MR_small_RLE.dcm", [1]),
        ("MR_small_jpeg_ls_lossless.dcm", [1]), ("693_J2KI.dcm", [1]), ("J2K_pixelrep_mismatch.dcm", [1]),
        ("JPEG-lossy.dcm", [1]), ("image_dfl.dcm", [1]), ("liver_1frame.dcm", [1]), ("rtdose.dcm", [1, 15]),
        ("examples_overlay.dcm", [1]), ("MR_truncated.dcm", [1]), ("SC_rgb_rle_2frame.dcm", [2]),
        ("examples_ybr_color.dcm", [1, 30]), ("examples_palette.dcm", [1]), ("SC_rgb_rle_16bit.dcm", [1]),
        ("examples_rgb_color.dcm", [1]), ("SC_ybr_full_422_uncompressed.dcm", [1]),
    ):  # fmt: skip
        yield name, read(name), frames

    inverse = copy.deepcopy(ct)
    inverse.PhotometricInterpretation, inverse.WindowCenter, inverse.WindowWidth = "MONOCHROME1", 40, 400
    yield "MONOCHROME1", inverse, [1]

    rescaled = copy.deepcopy(ct)
    rescaled.RescaleSlope, rescaled.RescaleIntercept = "-0.5", "100.25"
    yield "a slope below zero and no window", rescaled, [1]

    for function in ("LINEAR_EXACT", "SIGMOID"):
        shaped = copy.deepcopy(ct)
        shaped.WindowCenter, shaped.WindowWidth, shaped.VOILUTFunction = 100, 700, function
        yield function, shaped, [1]

    curved = copy.deepcopy(ct)
    curved.VOILUTSequence = Sequence([lut(np.sqrt(np.linspace(0, 4095**2, 3000)), -900, 12, "SS")])
    yield "a VOI LUT", curved, [1]

    table = read("MR_small.dcm")
    del table.WindowCenter, table.WindowWidth
    table.PixelRepresentation = 0
    table.ModalityLUTSequence = Sequence([lut(np.arange(2000)[::-1], 100, 11)])
    table.ModalityLUTSequence[0].ModalityLUTType = "US"
    yield "a Modality LUT", table, [1]

    high = read("CT_small.dcm")
    high.PixelData = ((high.pixel_array.astype(np.int32) << 2) | 0xC001).astype(np.uint16).tobytes()
    high.BitsStored, high.HighBit = 12, 13
    yield "bits that stand higher, others beside them", high, [1]

    bytes_signed = read("CT_small.dcm")
    bytes_signed.PixelData = (bytes_signed.pixel_array // 16 - 64).astype(np.int8).tobytes()
    bytes_signed.BitsAllocated = bytes_signed.BitsStored = 8
    bytes_signed.HighBit = 7
    yield "signed bytes", bytes_signed, [1]

    yield "windows of each frame", enhanced(ct), [1, 3]


def enhanced(ct):
    """Three frames, each with a rescale, a window and a place of its own (PS3.3 C.7.6.16)."""
    made = copy.deepcopy(ct)
    pixels = made.pixel_array
    made.NumberOfFrames = 3
    made.PixelData = b"".join(np.roll(pixels, 20 * frame, axis=0).tobytes() for frame in range(3))
    for keyword in ("RescaleSlope", "RescaleIntercept", "ImagePositionPatient"):
        delattr(made, keyword)
    made.PerFrameFunctionalGroupsSequence = Sequence([])
    for frame in range(3):
        value, window, groups, plane = Dataset(), Dataset(), Dataset(), Dataset()
        value.RescaleSlope, value.RescaleIntercept, value.RescaleType = 1 + frame, -1000 * frame, "HU"
        window.WindowCenter, window.WindowWidth = 100 + 50 * frame, 500 + 400 * frame
        window.WindowCenterWidthExplanation = f"WINDOW {frame + 1}"
        plane.ImagePositionPatient = [0, 0, 4 * frame]
        groups.PixelValueTransformationSequence = Sequence([value])
        groups.FrameVOILUTSequence = Sequence([window])
        groups.PlanePositionSequence = Sequence([plane])
        made.PerFrameFunctionalGroupsSequence.append(groups)
    return made
