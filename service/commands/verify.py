"""An original that comes back from the database, hashed and extracted in one worker job."""

from __future__ import annotations

import hashlib
from pathlib import Path

from service.dicom.extract import Packed, extract_packed
from service.dicom.limits import Limits, Readable
from service.errors import ServiceError


class Damaged(ServiceError):
    """The stored bytes are not the ones that were uploaded."""


def rederive(source: Readable | str | Path, sha256: str, limits: Limits | None) -> Packed | None:
    """Hold an original against its hash, and extract it.

    Parameters
    ----------
    source : bytes, mmap or path
        The bytes, or the path of a file that holds them.
    sha256 : str
        What they must hash to, in hex.
    limits : Limits or None
        What the extraction may cost; None: the hash alone.

    Raises
    ------
    Damaged
        They hash to something else.
    NotDicom, LimitExceeded
        They cannot be extracted.
    """
    if isinstance(source, str | Path):
        with Path(source).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    else:
        found = hashlib.sha256(source).hexdigest()
    if found != sha256:
        raise Damaged("The stored original is damaged: its sha256 is another than at the upload.")
    return None if limits is None else extract_packed(source, limits)
