"""Multipart bodies (RFC 2046, 5.1; RFC 7578) as they arrive, in constant memory.

The parser knows nothing of HTTP: it takes pieces of a body of any size, and gives each part's headers and then its
content in pieces. It holds one piece and at most one header block.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from urllib.parse import unquote_to_bytes

from service.errors import Invalid
from service.web.field_values import TOKEN, parse_parameters

MAX_HEADER_BYTES = 16 << 10
"""The longest header block of a part, in bytes."""

MAX_PARTS = 32
"""Parts that a form may have."""

MAX_PADDING = 256
"""White space that may follow a boundary, and text before the first one, in bytes."""

_HEADER_NAME = re.compile(TOKEN)
MAX_BOUNDARY = 200
"""Characters of a boundary: RFC 2046 has 70, and Orthanc sends 73."""

_BOUNDARY = re.compile(rf"[0-9A-Za-z'()+_,./:=? -]{{0,{MAX_BOUNDARY - 1}}}[0-9A-Za-z'()+_,./:=?-]")


def boundary_of(content_type: str) -> bytes:
    """Return the boundary that a multipart content type names.

    Raises
    ------
    Invalid
        Where it names none, or one that the grammar does not have.
    """
    boundary = parse_parameters(content_type)[1].get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise Invalid(f"The Content-Type of a multipart body must name a boundary of 1 to {MAX_BOUNDARY} characters.")
    return boundary.encode("ascii")


def file_name_of(disposition: str) -> str | None:
    """Return the file name of a `Content-Disposition` as it was sent, or None where there is none.

    Parameters
    ----------
    disposition : str
        For example ``form-data; name="body"; filename="CT.dcm"``.
    """
    _, parameters = parse_parameters(disposition)
    extended = parameters.get("filename*")
    if extended is not None and extended.lower().startswith("utf-8'") and extended.count("'") >= 2:
        return unquote_to_bytes(extended.split("'", 2)[2]).decode("utf-8", "replace")
    plain = parameters.get("filename")
    return None if plain is None else plain.replace("%22", '"')  # how browsers write a quote


class Part:
    """One part: its headers, and its content as it arrives.

    Parameters
    ----------
    headers : mapping of str to str
        Names in lower case.
    content : async iterator of bytes
        The content, without transfer encoding.
    """

    def __init__(self, headers: Mapping[str, str], content: AsyncIterator[bytes]) -> None:
        self.headers = headers
        self.content = content

    @property
    def content_type(self) -> str | None:
        """The part's media type without parameters, or None."""
        value = self.headers.get("content-type")
        return None if value is None else parse_parameters(value)[0]

    @property
    def file_name(self) -> str | None:
        """The name of the file that the part has, or None where it is no file."""
        return file_name_of(self.headers.get("content-disposition", ""))


class MultipartParser:
    """Reads the parts of one body, one after another.

    Parameters
    ----------
    body : async iterator of bytes
        The body, in pieces of any size.
    boundary : bytes
        What divides its parts, without the leading dashes.
    max_parts : int
        How many parts it may have.
    """

    def __init__(self, body: AsyncIterator[bytes], boundary: bytes, max_parts: int = MAX_PARTS) -> None:
        self._body = body
        self._max_parts = max_parts
        self._delimiter = b"\r\n--" + boundary
        # The first boundary may be the first bytes of the body; then it lacks the line end that belongs to it.
        self._held = b"\r\n"
        self._open = False
        self._parts = 0

    async def next_part(self) -> Part | None:
        """Return the next part, or None after the last; what was not read of the one before is passed over.

        Raises
        ------
        Invalid
            Where the body is not as multipart bodies are, or ends too early.
        """
        if self._parts == 0:
            await self._skip_preamble()
        elif self._open:
            async for _ in self._content():
                pass
        if not await self._boundary_opens_part():
            await self._drain()
            return None
        self._parts += 1
        if self._parts > self._max_parts:
            raise Invalid(f"A multipart body may have at most {self._max_parts} parts.")
        headers = await self._headers()
        self._open = True
        return Part(headers, self._content())

    async def _skip_preamble(self) -> None:
        while (found := self._held.find(self._delimiter)) < 0 and len(self._held) <= MAX_PADDING + len(self._delimiter):
            await self._more("The body does not contain the boundary that its Content-Type names.")
        if not 0 <= found <= MAX_PADDING:
            raise Invalid("The body does not begin with the boundary that its Content-Type names.")
        self._held = self._held[found + len(self._delimiter) :]

    async def _more(self, sentence: str) -> None:
        """Take one piece more of the body."""
        piece = await anext(self._body, None)
        if piece is None:
            raise Invalid(sentence)
        self._held = self._held + piece if self._held else piece

    async def _boundary_opens_part(self) -> bool:
        """Read what follows a boundary: the end of its line, or the dashes of the last one."""
        cut_off = "The multipart body is truncated: it ends before its last boundary."
        while len(self._held) < 2:
            await self._more(cut_off)
        if self._held.startswith(b"--"):
            return False
        while (end := self._held.find(b"\r\n")) < 0 and len(self._held) <= MAX_PADDING + 2:
            await self._more(cut_off)
        if not 0 <= end <= MAX_PADDING or self._held[:end].strip(b" \t"):
            raise Invalid("A boundary of the multipart body is followed by other text on its line.")
        self._held = self._held[end:]
        return True

    async def _headers(self) -> dict[str, str]:
        """Read a header block; what is held begins with the line end before it."""
        while (end := self._held.find(b"\r\n\r\n")) < 0:
            if len(self._held) > MAX_HEADER_BYTES:
                break
            await self._more("The multipart body is truncated: it ends within the headers of a part.")
        if end < 0 or end > MAX_HEADER_BYTES:
            raise Invalid(f"The headers of a part may have at most {MAX_HEADER_BYTES} bytes.")
        block, self._held = self._held[2:end], self._held[end + 4 :]
        headers: dict[str, str] = {}
        for line in re.sub(rb"\r\n[ \t]+", b" ", block).split(b"\r\n") if block else []:
            name, colon, value = line.partition(b":")
            key = name.decode("ascii", "replace").lower()
            if not colon or not _HEADER_NAME.fullmatch(key):
                raise Invalid("A part of the multipart body has an invalid header.")
            headers.setdefault(key, value.strip(b" \t").decode("utf-8", "replace"))
        return headers

    async def _content(self) -> AsyncIterator[bytes]:
        """Return the content of a part up to its boundary, which is read too."""
        delimiter = self._delimiter
        searched = 0
        while True:
            found = self._held.find(delimiter, searched)
            if found < 0:
                # A delimiter may have begun at the end of what is held: only that much is kept back. Mostly none has,
                # and the piece goes on as it came.
                begun = self._held.rfind(b"\r", max(0, len(self._held) - len(delimiter) + 1))
                keep = begun if begun >= 0 and delimiter.startswith(self._held[begun:]) else len(self._held)
                ready, self._held, searched = self._held[:keep], self._held[keep:], 0
                if ready:
                    yield ready
                await self._more("The multipart body is truncated: it ends within a part.")
                continue
            after = found + len(delimiter)
            while len(self._held) < after + 2:
                await self._more("The multipart body is truncated: it ends within a boundary.")
            if self._held[after : after + 2] == b"--" or self._held[after : after + 1] in {b"\r", b" ", b"\t"}:
                ready, self._held = self._held[:found], self._held[after:]
                self._open = False
                if ready:
                    yield ready
                return
            searched = after  # the content has a longer word that begins like the boundary

    async def _drain(self) -> None:
        """Pass over what follows the last boundary."""
        async for _ in self._body:
            pass
