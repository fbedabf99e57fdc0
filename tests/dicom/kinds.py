"""Data sets of many kinds, written by pydicom: what a reader meets beside plain images."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

SYNTAXES = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "big": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
}


def written(dataset: Dataset, syntax: str = "explicit") -> bytes:
    """Write a data set as a Part 10 file."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = SYNTAXES[syntax]
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    out = io.BytesIO()
    dcmwrite(out, dataset, enforce_file_format=True)
    return out.getvalue()


def started(sop_class: str) -> Dataset:
    """The elements that every object has."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1." + sop_class
    dataset.SOPInstanceUID = "1.2.826.0.1.3680043.8.498.1"
    dataset.StudyInstanceUID = "1.2.826.0.1.3680043.8.498.2"
    dataset.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498.3"
    dataset.PatientName = "Müller^Jürgen^^Dr.=穆勒^于尔根"
    dataset.PatientID = " 0042 "
    dataset.StudyDate = "20240229"
    dataset.StudyTime = "235959.999999"
    return dataset


def coded(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def pixels(dataset: Dataset, signed: bool = False, bits: int = 16) -> Dataset:
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 3, 5, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(signed)
    dataset.PixelData = bytes(range(15 * bits // 8)) + bytes(15 * bits // 8 % 2)
    dataset["PixelData"].VR = "OW" if bits > 8 else "OB"
    return dataset


def every_vr() -> Dataset:
    """One element at least of every VR, with awkward values."""
    dataset = started("7")
    dataset.RetrieveAETitle = ["STORE SCP", "B"]  # AE
    dataset.PatientAge = "042Y"  # AS
    dataset.FrameIncrementPointer = [0x00181063, 0x0018106A]  # AT
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "", "M"]  # CS
    dataset.CalibrationDate = ["20200101", "20210202"]  # DA
    dataset.ImagePositionPatient = ["1.50", "-1e-3", "+1234567.1234567"]  # DS
    dataset.AcquisitionDateTime = "20240229235959.123456-0730"  # DT
    dataset.TagAngleSecondAxis = 1  # SS
    dataset.add_new(0x00189306, "FD", 0.1)
    dataset.add_new(0x00720074, "FD", [1e308, 5e-324, -0.0])
    dataset.add_new(0x00181271, "FL", [0.1, 3.4028234663852886e38])
    dataset.ReferencedFrameNumber = ["1", "+2", "-0003"]  # IS
    dataset.OtherPatientIDs = ["  a b  ", "c"]  # LO
    dataset.PatientComments = "  first \\ line\r\nsecond, with spaces at the end   "  # LT
    dataset.add_new(0x00420011, "OB", b"\1\2\3\4")
    dataset.add_new(0x7FE00009, "OD", struct.pack("<2d", 1.5, -2.5))
    dataset.add_new(0x00640009, "OF", struct.pack("<3f", 1.5, -2.5, 3.5))
    dataset.add_new(0x00660023, "OW", struct.pack("<3H", 1, 0x1234, 65535))
    dataset.add_new(0x00660040, "OL", struct.pack("<2L", 1, 0xDEADBEEF))
    dataset.add_new(0x7FE00001, "OV", struct.pack("<2Q", 1, 0xDEADBEEFCAFE))
    dataset.OperatorsName = ["A^B", "", "C^D==E^F"]  # PN
    dataset.StationName = "CT 1"  # SH
    dataset.add_new(0x00720064, "IS", ["1", "", "3"])
    dataset.ReferencePixelX0 = -70000  # SL
    dataset.InstitutionAddress = "1 Main St \\ Room 2"  # ST
    dataset.add_new(0x00720082, "SV", [-(2**63), 2**63 - 1, 2**53 + 1])
    dataset.AcquisitionTime = "070907.0705"  # TM
    dataset.LongCodeValue = "a long  code\\not two".replace("\\", "/")  # UC
    dataset.add_new(0x00186028, "UL", [2**32 - 1, 0])
    dataset.URNCodeValue = "urn:oid:1.2.3"  # UR
    dataset.add_new(0x00280120, "US", 65535)
    dataset.TextValue = "one \\ text"  # UT
    dataset.add_new(0x00720083, "UV", [2**64 - 1, 1])
    dataset.add_new(0x00081140, "SQ", Sequence([]))
    dataset.add_new(0x00081110, "SQ", Sequence([Dataset()]))
    dataset.AccessionNumber = ""
    dataset.add_new(0x00091001, "UN", b"unknown bytes ")
    return dataset


def private() -> Dataset:
    """Private elements, some of whose creators the private dictionary knows."""
    dataset = started("4")
    block = dataset.private_block(0x0009, "GEMS_IDEN_01", create=True)
    block.add_new(0x01, "LO", "GE_GENESIS_FF")
    block.add_new(0x30, "SH", "x")
    siemens = dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    siemens.add_new(0x08, "CS", "IMAGE NUM 4")
    siemens.add_new(0x10, "OB", bytes(range(100)))
    nobody = dataset.private_block(0x0099, "Nobody, knows/this.", create=True)
    nobody.add_new(0x01, "DS", ["1.5", "2"])
    inner = Dataset()
    inner.PatientID = "inner"
    inner.private_block(0x0099, "Another", create=True).add_new(0x02, "US", [1, 2])
    nobody.add_new(0x10, "SQ", [inner, Dataset()])
    return dataset


def structured_report() -> Dataset:
    dataset = started("88.33")
    dataset.Modality = "SR"

    def container(depth: int) -> Dataset:
        item = Dataset()
        item.RelationshipType = "CONTAINS"
        item.ValueType = "CONTAINER"
        item.ConceptNameCodeSequence = [coded("121070", "DCM", "Findings, naïve")]
        number = Dataset()
        number.ValueType = "NUM"
        value = Dataset()
        value.NumericValue = ["1.250"]
        value.FloatingPointValue = 1.25
        value.MeasurementUnitsCodeSequence = [coded("mm", "UCUM", "millimeter")]
        number.MeasuredValueSequence = [value]
        number.GraphicData = [1.5, 2.5, -3.25]
        item.ContentSequence = [number] + ([container(depth - 1)] if depth else [])
        return item

    dataset.ContentSequence = [container(6), container(0)]
    return dataset


def radiotherapy() -> Dataset:
    dataset = started("481.3")
    dataset.Modality = "RTSTRUCT"
    contours = []
    for number in range(3):
        contour = Dataset()
        contour.ContourGeometricType = "CLOSED_PLANAR"
        contour.NumberOfContourPoints = 40
        contour.ContourData = [f"{number}.{n}0" for n in range(120)]
        contours.append(contour)
    roi = Dataset()
    roi.ROIDisplayColor = [255, 0, 128]
    roi.ContourSequence = contours
    dataset.ROIContourSequence = [roi]
    return dataset


def segmentation() -> Dataset:
    dataset = pixels(started("66.4"), bits=8)
    segment = Dataset()
    segment.SegmentNumber = 1
    segment.SegmentedPropertyCategoryCodeSequence = [coded("T-D0050", "SRT", "Tissue")]
    segment.RecommendedDisplayCIELabValue = [34885, 53485, 50171]
    dataset.SegmentSequence = [segment]
    frame = Dataset()
    position = Dataset()
    position.ImagePositionPatient = ["-1.0", "2", "3.5e1"]
    frame.PlanePositionSequence = [position]
    content = Dataset()
    content.DimensionIndexValues = [1, 4294967295]
    frame.FrameContentSequence = [content]
    dataset.PerFrameFunctionalGroupsSequence = [frame] * 4
    return dataset


def presentation_state() -> Dataset:
    dataset = started("11.1")
    dataset.PixelRepresentation = 1
    lut = Dataset()
    lut.add_new(0x00283002, "SS", [4, -2, 16])
    lut.LUTExplanation = "test"
    lut.add_new(0x00283006, "OW", struct.pack("<4H", 1, 2, 3, 65535))
    dataset.ModalityLUTSequence = [lut]
    annotation = Dataset()
    annotation.BoundingBoxTopLeftHandCorner = [1.5, 2.5]
    annotation.UnformattedTextValue = "two\r\nlines\\one value"
    graphic = Dataset()
    graphic.TextObjectSequence = [annotation]
    graphic.GraphicLayer = "LAYER 1"
    dataset.GraphicAnnotationSequence = [graphic]
    dataset.DisplayedAreaTopLeftHandCorner = [-1, 2]
    dataset.add_new(0x60000010, "US", 8)
    dataset.add_new(0x60000050, "SS", [1, -1])
    dataset.add_new(0x60003000, "OW", bytes(8))
    dataset.add_new(0x60020022, "LO", "overlay")
    dataset.add_new(0x50003000, "OW", bytes(6))
    return dataset


def waveform() -> Dataset:
    dataset = started("9.1.1")
    channel = Dataset()
    channel.ChannelSensitivity = "1.00000"
    channel.ChannelMinimumValue = struct.pack("<h", -5)
    channel["ChannelMinimumValue"].VR = "OW"
    group = Dataset()
    group.SamplingFrequency = "500"
    group.ChannelDefinitionSequence = [channel] * 2
    group.WaveformBitsAllocated = 16
    group.WaveformSampleInterpretation = "SS"
    group.WaveformPaddingValue = b"\0\x80"
    group["WaveformPaddingValue"].VR = "OW"
    group.WaveformData = bytes(range(200))
    group["WaveformData"].VR = "OW"
    dataset.WaveformSequence = [group]
    return dataset


def palette() -> Dataset:
    dataset = pixels(started("6.1"), bits=8)
    dataset.PhotometricInterpretation = "PALETTE COLOR"
    for number, colour in enumerate(("Red", "Green", "Blue")):
        dataset.add_new(0x00281101 + number, "US", [256, 0, 16])
        dataset.add_new(0x00281201 + number, "OW", struct.pack("<256H", *(257 * n for n in range(256))))
        assert f"{colour}PaletteColorLookupTableData" in dataset
    dataset.add_new(0x00280106, "US", 0)
    dataset.add_new(0x00280107, "US", 65535)
    return dataset


def signed_pixels() -> Dataset:
    dataset = pixels(started("2"), signed=True)
    dataset.add_new(0x00280106, "SS", -1024)
    dataset.add_new(0x00280107, "SS", 3071)
    dataset.add_new(0x00280120, "SS", -2000)
    dataset.WindowCenter = ["40", "400.0"]
    dataset.WindowCenterWidthExplanation = ["SOFT", "BONE"]
    icon = pixels(Dataset(), bits=8)
    dataset.IconImageSequence = [icon]
    return dataset


def document() -> Dataset:
    dataset = started("104.1")
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    dataset.EncapsulatedDocument = b"%PDF-1.4" + bytes(5000)
    return dataset


def names(charset: list[str] | str, name: str) -> Callable[[], Dataset]:
    def make() -> Dataset:
        dataset = started("7")
        dataset.SpecificCharacterSet = charset
        dataset.PatientName = name
        dataset.StudyDescription = name.split("=")[-1].replace("^", " ")
        return dataset

    return make


KINDS: dict[str, Callable[[], Dataset]] = {
    "every VR": every_vr,
    "private": private,
    "SR": structured_report,
    "RT": radiotherapy,
    "SEG": segmentation,
    "PR": presentation_state,
    "waveform": waveform,
    "palette": palette,
    "signed": signed_pixels,
    "PDF": document,
    "Chinese": names("GB18030", "Wang^XiaoDong=王^小东"),
    "Chinese, GBK": names("GBK", "Wang^XiaoDong=王^小东"),
    "Korean": names(["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    "Russian": names("ISO_IR 144", "Люкceмбypг"),  # noqa: RUF001
    "Arabic": names("ISO_IR 127", "قباني^لنزار"),
    "Thai": names("ISO_IR 166", "สมชาย"),
    "Latin 1": names("ISO_IR 100", "Äneas^Rüdiger"),
}
