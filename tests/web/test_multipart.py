"""Multipart bodies, cut in every way."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import Invalid
from service.web.multipart import (
    MAX_HEADER_BYTES,
    MAX_PARTS,
    MultipartParser,
    boundary_of,
    file_name_of,
)

FILE = b'Content-Disposition: form-data; name="body"; filename="CT.dcm"\r\nContent-Type: application/dicom\r\n'


def part(content, headers=FILE):
    return headers + b"\r\n" + content


def body(*parts, boundary=b"xyz", preamble=b"", epilogue=b"\r\n"):
    divided = b"".join(b"--" + boundary + b"\r\n" + each + b"\r\n" for each in parts)
    return preamble + divided + b"--" + boundary + b"--" + epilogue


async def pieces(data, size):
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def read_all(data, size=1 << 16, boundary=b"xyz"):
    parser = MultipartParser(pieces(data, size), boundary)
    found = []
    while (each := await parser.next_part()) is not None:
        found.append((each, b"".join([piece async for piece in each.content])))
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1 << 16])
async def test_parts_come_out_as_they_went_in_however_the_body_is_cut(size):
    contents = [
        b"",
        b"\r\n",
        b"\r\n--xy",
        b"--xyz",
        b"\r\n--xyzz",
        b"\r\r\n--",
        b"a\r\n--xyq--\r\nb",
        bytes(range(256)),
    ]
    data = body(*map(part, contents), preamble=b"\r\n")
    assert [content for _, content in await read_all(data, size)] == contents


@settings(max_examples=60, deadline=None)
@given(
    contents=st.lists(
        st.lists(st.sampled_from([b"\r", b"\n", b"-", b"x", b"xyz", b"\r\n--", b"a"]), max_size=12), max_size=4
    ),
    size=st.integers(1, 20),
)
async def test_any_content_without_the_boundary_survives_any_cut(contents, size):
    joined = [b"".join(each).replace(b"\r\n--xyz", b"") for each in contents]
    joined = [each for each in joined if b"\r\n--xyz" not in b"\r\n" + each + b"\r\n"]
    assert [content for _, content in await read_all(body(*map(part, joined)), size)] == joined


async def test_the_headers_of_a_part():
    ((found, _),) = await read_all(body(part(b"", FILE + b"X-Folded: a\r\n b\r\n")))
    assert found.content_type == "application/dicom"
    assert found.file_name == "CT.dcm"
    assert found.headers["x-folded"] == "a b"


async def test_a_part_without_headers_is_one():
    ((found, content),) = await read_all(body(b"\r\nhello"))
    assert (found.headers, content, found.content_type, found.file_name) == ({}, b"hello", None, None)


async def test_what_was_not_read_is_passed_over():
    parser = MultipartParser(pieces(body(part(b"one" * 100), part(b"two")), 16), b"xyz")
    await parser.next_part()
    second = await parser.next_part()
    assert b"".join([piece async for piece in second.content]) == b"two"
    assert await parser.next_part() is None


async def test_white_space_may_follow_a_boundary():
    data = b"--xyz \t\r\n" + part(b"a") + b"\r\n--xyz-- "
    assert [content for _, content in await read_all(data)] == [b"a"]


async def test_a_form_without_parts():
    assert await read_all(b"--xyz--") == []
    assert await read_all(b"--xyz--\r\nand then something") == []


WHOLE = body(part(b"content" * 10), part(b"more"), epilogue=b"")


@pytest.mark.parametrize("length", range(len(WHOLE)))
async def test_a_body_that_is_cut_off_anywhere_is_refused(length):
    with pytest.raises(Invalid):
        await read_all(WHOLE[:length], 16)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"--abc\r\n",
        b"x" * 100_000,
        b"--xyz junk\r\n" + part(b"a") + b"\r\n--xyz--",
        b"--xyz" + b" " * 1000 + b"\r\n" + part(b"a") + b"\r\n--xyz--",
        body(part(b"a", b"no header\r\n")),
        body(part(b"a", b": empty\r\n")),
        body(part(b"a", b"Sp ace: x\r\n")),
        body(part(b"a", b"X: " + b"x" * MAX_HEADER_BYTES + b"\r\n")),
        body(*[part(b"a")] * (MAX_PARTS + 1)),
    ],
)
async def test_a_body_that_is_not_as_multipart_bodies_are_is_refused(data):
    with pytest.raises(Invalid):
        await read_all(data, 4096)


async def test_headers_without_an_end_are_not_collected_for_ever():
    async def endless():
        yield b"--xyz\r\n"
        for _ in range(1000):
            yield b"X-A: b\r\n" * 100
        raise AssertionError("it should have given up long ago")

    with pytest.raises(Invalid):
        await MultipartParser(endless(), b"xyz").next_part()


async def test_content_full_of_false_boundaries_takes_no_time():
    content = b"\r\n--xyz!" * 60_000
    begun = time.process_time()
    ((_, found),) = await read_all(body(part(content)), 1 << 16)
    assert found == content
    assert time.process_time() - begun < 2


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        "multipart/form-data; boundary=" + "x" * 201,
        'multipart/form-data; boundary="a\tb"',
        "multipart/form-data; boundary=é",
        'multipart/form-data; boundary="ends with space "',
    ],
)
def test_a_boundary_that_is_none_is_refused(content_type):
    with pytest.raises(Invalid):
        boundary_of(content_type)


def test_a_boundary_may_be_quoted():
    assert boundary_of('multipart/form-data; charset=utf-8; boundary="a b:c"') == b"a b:c"
    assert boundary_of("multipart/form-data; boundary=----WebKitFormBoundaryAb1") == b"----WebKitFormBoundaryAb1"


@pytest.mark.parametrize(
    ("disposition", "expected"),
    [
        ('form-data; name="body"; filename="CT.dcm"', "CT.dcm"),
        ("form-data; name=body; filename=CT.dcm", "CT.dcm"),
        (r'form-data; filename="a\"b.dcm"', 'a"b.dcm'),
        (r'form-data; filename="C:\scans\CT.dcm"', r"C:\scans\CT.dcm"),
        ('form-data; filename="a;b.dcm"; name="x"', "a;b.dcm"),
        ("form-data; filename=\"x\"; filename*=UTF-8''%C3%A9.dcm", "é.dcm"),
        ('form-data; filename="a%22b%20c.dcm"', 'a"b%20c.dcm'),
        ("form-data; filename*=UTF-8''%ff.dcm", "\ufffd.dcm"),
        ('form-data; filename=""', ""),
        ('form-data; name="filename"', None),
        ("", None),
    ],
)
def test_file_names(disposition, expected):
    assert file_name_of(disposition) == expected
