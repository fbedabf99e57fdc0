"""ZIP files as people have them: discs, exports, folders that somebody packed; and broken and hostile ones."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pydicom
from pydicom.data import get_testdata_file

CT = Path(str(get_testdata_file("CT_small.dcm"))).read_bytes()
DISC = b"MZ\x90\x00" + b"\x00" * 3000


@cache
def dicom(number: int, patient_id: str = "1CT1", name: str = "CompressedSamples^CT1") -> bytes:
    """A small file of its own, of a patient."""
    dataset = pydicom.dcmread(io.BytesIO(CT), stop_before_pixels=True)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.3680043.8.498.{number}"
    dataset.PatientID, dataset.PatientName = patient_id, name
    made = io.BytesIO()
    dataset.save_as(made)
    return made.getvalue()


def dicomdir() -> bytes:
    return Path(str(get_testdata_file("DICOMDIR"))).read_bytes()


def packed(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED, **options: Any) -> bytes:
    """A ZIP by a program that can seek: sizes stand in the headers."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method, **options) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return made.getvalue()


class _Pipe(io.RawIOBase):
    def __init__(self) -> None:
        self.made = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.made += data
        return len(data)


def piped(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED, wide: bool = False) -> bytes:
    """A ZIP by a program that writes to a pipe: sizes stand in data descriptors behind the members."""
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", method) as archive:  # type: ignore[call-overload]
        for name, content in members:
            with archive.open(name, "w", force_zip64=wide) as target:
                target.write(content)
    return bytes(pipe.made)


def zip64(*members: tuple[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            with archive.open(name, "w", force_zip64=True) as target:
                target.write(content)
    return made.getvalue()


def member(
    name: bytes,
    content: bytes,
    *,
    flags: int = 0,
    method: int = 8,
    crc: int | None = None,
    size: int | None = None,
    packed_size: int | None = None,
    signed: bool = True,
) -> bytes:
    """One member as its bytes, with whatever its header may say."""
    deflate = zlib.compressobj(wbits=-15)
    raw = deflate.compress(content) + deflate.flush() if method == 8 else content
    crc = zlib.crc32(content) if crc is None else crc
    sizes = (len(raw) if packed_size is None else packed_size, len(content) if size is None else size)
    head = (0, 0, 0) if flags & 8 else (crc, *sizes)
    local = struct.pack("<4sHHHHHIIIHH", b"PK\x03\x04", 20, flags, method, 0, 33, *head, len(name), 0) + name
    tail = (b"PK\x07\x08" if signed else b"") + struct.pack("<III", crc, *sizes) if flags & 8 else b""
    return local + raw + tail


def unicode_path(name: str, plain: bytes, content: bytes) -> bytes:
    """One member whose name in Unicode stands in an extra field (APPNOTE 4.6.9)."""
    path = struct.pack("<BI", 1, zlib.crc32(plain)) + name.encode()
    extra = struct.pack("<HH", 0x7075, len(path)) + path
    sizes = (zlib.crc32(content), len(content), len(content), len(plain), len(extra))
    return struct.pack("<4sHHHHHIIIHH", b"PK\x03\x04", 20, 0, 0, 0, 33, *sizes) + plain + extra + content


def packed_twice(name: str, *contents: bytes) -> bytes:
    """A ZIP in which a name stands more than once, as programs leave it that replace a member by appending."""
    return b"".join(member(name.encode(), content) for content in contents) + END


END = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 0, 0, 0, 0, 0)


@dataclass
class Case:
    content: bytes
    lines: list[tuple[str, str]]
    """Names, and what becomes of each: new, again, a word of refusal or of passing over."""
    complete: bool = True
    warnings: int = 0
    people: dict[str, int] = field(default_factory=dict)


def disc() -> Case:
    members = [
        ("DICOMDIR", dicomdir()),
        ("AUTORUN.INF", b"[autorun]\nopen=VIEWER.EXE\n"),
        ("VIEWER/VIEWER.EXE", DISC),
        ("VIEWER/lib/codec.dll", DISC),
        ("VIEWER/start.jar", packed(("a.class", b"x"))),
        ("README.TXT", b"How to look at the pictures\n" * 20),
        ("index.html", b"<html></html>"),
        ("DICOM/ST000000/SE000000/IM000000", dicom(1)),
        ("DICOM/ST000000/SE000000/IM000001", dicom(2)),
    ]
    beside = [(name, "dicomdir" if name == "DICOMDIR" else "not-dicom") for name, _ in members[:7]]
    return Case(packed(*members), [*beside, (members[7][0], "new"), (members[8][0], "new")], people={"1CT1": 2})


def cases() -> dict[str, Case]:
    one, two, three = dicom(1), dicom(2), dicom(3)
    many = [(f"a/b/c/d{number % 7}/{number}.dcm", dicom(number)) for number in range(30)]
    both = [("a.dcm", "new"), ("b.dcm", "new")]
    cut = packed(("a.dcm", one), ("b.dcm", CT), method=zipfile.ZIP_STORED)
    bomb = member(b"bomb.dcm", one + b"\x00" * (80 << 20))
    japanese = "検査/山田^太郎_画像１.dcm"
    locked = member(b"locked.dcm", one, flags=1)
    return {
        "a disc with DICOMDIR and viewer": disc(),
        "nested folders": Case(
            packed(("a/", b""), ("a/b/", b""), *many), [(name, "new") for name, _ in many], people={"1CT1": 30}
        ),
        "Japanese names in UTF-8": Case(packed((japanese, one)), [(japanese, "new")]),
        "Japanese names in UTF-8 that no flag tells": Case(member(japanese.encode(), one) + END, [(japanese, "new")]),
        "Japanese names in Shift-JIS, as Windows writes them": Case(
            member(japanese.encode("cp932"), one) + member("表示/ﾃﾞｰﾀ能.dcm".encode("cp932"), two) + END,
            [(japanese, "new"), ("表示/ﾃﾞｰﾀ能.dcm", "new")],
        ),
        "German and French names in code page 437": Case(
            member("Schädel/Größe.dcm".encode("cp437"), one) + member("été/tête.dcm".encode("cp437"), two) + END,
            [("Schädel/Größe.dcm", "new"), ("été/tête.dcm", "new")],
        ),
        "a name in a Unicode Path field": Case(unicode_path("検査.dcm", b"____.dcm", one) + END, [("検査.dcm", "new")]),
        "Zip64": Case(zip64(("a.dcm", one), ("b.dcm", two)), both),
        "data descriptors": Case(piped(("a.dcm", one), ("b.dcm", two)), both),
        "data descriptors of Zip64": Case(piped(("a.dcm", one), ("b.dcm", two), wide=True), both),
        "data descriptors without a signature": Case(
            member(b"a.dcm", one, flags=8, signed=False) + member(b"b.dcm", two, flags=8, signed=False) + END, both
        ),
        "stored members with data descriptors": Case(
            piped(("a.dcm", one), ("b.dcm", two), method=zipfile.ZIP_STORED), both
        ),
        "stored members": Case(packed(("a.dcm", one), ("b.dcm", two), method=zipfile.ZIP_STORED), both),
        "a stored member that has a descriptor's signature in it": Case(
            piped(("a.dcm", one + b"PK\x07\x08" * 9 + b"PK"), ("b.dcm", two), method=zipfile.ZIP_STORED), both
        ),
        "two patients": Case(
            packed(("a.dcm", one), ("b.dcm", two), ("c.dcm", dicom(4, "OTHER", "Somebody^Else"))),
            [*both, ("c.dcm", "new")],
            warnings=2,
            people={"1CT1": 2, "OTHER": 1},
        ),
        "duplicates": Case(
            packed(("a.dcm", one), ("copy/a.dcm", one), ("b.dcm", two)),
            [("a.dcm", "new"), ("copy/a.dcm", "again"), ("b.dcm", "new")],
        ),
        "names that are paths elsewhere": Case(
            packed(("../../etc/a.dcm", one), ("/etc/b.dcm", two), ("C:\\x\\c.dcm", three)),
            [("../../etc/a.dcm", "new"), ("/etc/b.dcm", "new"), ("C:/x/c.dcm", "new")],
        ),
        "names that would act on whoever reads them": Case(
            member(b"\x1b[2J\r\na\x00.dcm", one) + member(b"", two) + member(b"n" * 3000 + b".dcm", three) + END,
            [("[2Ja.dcm", "new"), ("", "new"), ("…" + "n" * 1019 + ".dcm", "new")],
        ),
        "one name for two members": Case(packed_twice("a.dcm", one, two), [("a.dcm", "new"), ("a.dcm", "new")]),
        "cut within a member": Case(cut[:20_000], [("a.dcm", "new"), ("b.dcm", "broken-off")], complete=False),
        "cut between two members": Case(member(b"a.dcm", one), [("a.dcm", "new")], complete=False),
        "a bomb": Case(bomb + member(b"b.dcm", two) + END, [("bomb.dcm", "too-large"), ("b.dcm", "new")]),
        "an encrypted member": Case(
            member(b"a.dcm", one) + locked + member(b"b.dcm", two) + END,
            [("a.dcm", "new"), ("locked.dcm", "encrypted"), ("b.dcm", "new")],
        ),
        "an encrypted member with a descriptor": Case(
            member(b"locked.dcm", one, flags=9) + member(b"b.dcm", two) + END,
            [("locked.dcm", "encrypted"), ("b.dcm", "new")],
        ),
        "a member compressed in another way": Case(
            packed(("a.dcm", one), method=zipfile.ZIP_LZMA),
            [("a.dcm", "unsupported-compression")],
        ),
        "members compressed in ways that nobody knows": Case(
            member(b"a.dcm", one, method=9) + member(b"b.dcm", one, method=1234) + member(b"c.dcm", three) + END,
            [("a.dcm", "unsupported-compression"), ("b.dcm", "unsupported-compression"), ("c.dcm", "new")],
        ),
        "a member locked by AES": Case(
            member(b"locked.dcm", one, flags=1, method=99) + member(b"b.dcm", two) + END,
            [("locked.dcm", "encrypted"), ("b.dcm", "new")],
        ),
        "a ZIP in a ZIP": Case(
            packed(("inner.zip", packed(("a.dcm", one))), ("b.dcm", two)),
            [("inner.zip", "nested-zip"), ("b.dcm", "new")],
        ),
        "a stored ZIP in a ZIP with descriptors": Case(
            piped(
                ("inner.zip", packed(("a.dcm", one), method=zipfile.ZIP_STORED)),
                ("b.dcm", two),
                method=zipfile.ZIP_STORED,
            ),
            [("inner.zip", "nested-zip"), ("b.dcm", "new")],
        ),
        "a wrong checksum": Case(
            member(b"a.dcm", one, crc=1) + member(b"b.dcm", two) + END, [("a.dcm", "damaged"), ("b.dcm", "new")]
        ),
        "a wrong checksum in a descriptor": Case(
            member(b"a.dcm", one, crc=1, flags=8) + member(b"b.dcm", two) + END,
            [("a.dcm", "damaged"), ("b.dcm", "new")],
        ),
        "a size that is a lie": Case(
            member(b"a.dcm", one, size=17) + member(b"b.dcm", two) + END, [("a.dcm", "damaged"), ("b.dcm", "new")]
        ),
        "rubbish in the place of a compressed member": Case(
            member(b"a.dcm", b"\xff" * 900, method=0).replace(
                b"\x14\x00\x00\x00\x00\x00", b"\x14\x00\x00\x00\x08\x00", 1
            )
            + member(b"b.dcm", two)
            + END,
            [("a.dcm", "damaged"), ("b.dcm", "new")],
        ),
        "rubbish between two members": Case(
            member(b"a.dcm", one) + b"rubbish PK\x03\x04 \xff\xff\xff rubbish" * 9 + member(b"b.dcm", two) + END, both
        ),
        "what macOS adds": Case(
            packed(
                ("a.dcm", one),
                ("__MACOSX/._a.dcm", b"\x00\x05\x16\x07" * 9),
                (".DS_Store", b"\x00" * 900),
                ("b.dcm", two),
            ),
            [("a.dcm", "new"), ("__MACOSX/._a.dcm", "not-dicom"), (".DS_Store", "not-dicom"), ("b.dcm", "new")],
        ),
        "what is neither DICOM nor known": Case(
            packed(("a.dcm", b"hello " * 900), ("empty.dcm", b""), ("b.dcm", two)),
            [("a.dcm", "not-dicom!"), ("empty.dcm", "empty"), ("b.dcm", "new")],
        ),
        "nothing": Case(packed(), []),
        "a marker before the first member": Case(b"PK00" + packed(("a.dcm", one)), [("a.dcm", "new")]),
    }
