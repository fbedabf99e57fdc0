"""POST /patient/{patient_id}/dicom: what is taken, and everything that is not."""

import asyncio
import gzip
import json
import uuid

import aiohttp
import pytest

from tests.web.service import MAX_UPLOAD_BYTES

pytestmark = pytest.mark.asyncio(loop_scope="session")

UPLOAD = "/patient/{}/dicom"


async def count(service, patient):
    answer = await service.ask("GET", UPLOAD.format(patient), patient=patient)
    return len(answer.json()["instances"])


async def refused(service, patient, status, **request):
    answer = await service.ask("POST", UPLOAD.format(patient), patient=patient, **request)
    assert answer.status == status, answer.body
    assert await count(service, patient) == 0
    return answer


def form(*fields):
    made = aiohttp.FormData(quote_fields=False)
    for name, content, options in fields:
        made.add_field(name, content, **options)
    return made


def multipart(*parts, boundary="xyz"):
    """A body written by hand: what clients should not send cannot be sent by one."""
    lines = b"".join(b"--xyz\r\n" + head.encode() + b"\r\n\r\n" + content + b"\r\n" for head, content in parts)
    return {
        "data": lines + b"--xyz--\r\n",
        "headers": {"Content-Type": f"multipart/form-data; boundary={boundary}"},
    }


FILE = 'Content-Disposition: form-data; name="body"; filename="CT.dcm"\r\nContent-Type: application/dicom'


# --- what is taken -------------------------------------------------------------------------------------------------


async def test_a_form_with_a_file_gives_its_id_as_a_json_string(service, patient, ct):
    answer = await service.upload(patient, ct)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    dicom_id = answer.json()
    assert str(uuid.UUID(dicom_id)) == dicom_id
    assert answer.headers["Location"] == f"/patient/{patient}/dicom/{dicom_id}"
    stored = await service.ask("GET", answer.headers["Location"], patient=patient)
    assert stored.body == ct


async def test_a_raw_body_is_the_file(service, patient, ct):
    answer = await service.ask(
        "POST", UPLOAD.format(patient), patient=patient, data=ct, headers={"Content-Type": "application/dicom"}
    )
    assert answer.status == 200
    stored = await service.ask("GET", answer.headers["Location"], patient=patient)
    assert stored.body == ct


async def test_a_raw_body_may_name_its_file(service, patient, ct):
    headers = {"Content-Type": "application/dicom", "Content-Disposition": 'attachment; filename="/tmp/scan 1.dcm"'}
    await service.ask("POST", UPLOAD.format(patient), patient=patient, data=ct, headers=headers)
    listed = await service.ask("GET", UPLOAD.format(patient), patient=patient)
    assert listed.json()["instances"][0]["file_name"] == "scan 1.dcm"


async def test_a_chunked_body_without_a_length_is_taken(service, patient, ct):
    async def chunks():
        for start in range(0, len(ct), 1000):
            yield ct[start : start + 1000]

    headers = {"Content-Type": "application/dicom; x=y"}
    answer = await service.ask("POST", UPLOAD.format(patient), patient=patient, data=chunks(), headers=headers)
    assert answer.status == 200


@pytest.mark.parametrize("name", ["body", "file", "", "image[0]"])
@pytest.mark.parametrize(
    "media_type", ["application/dicom", "application/octet-stream", "Application/DICOM; a=b", None]
)
async def test_any_field_name_and_the_known_part_types_are_taken(service, patient, ct, name, media_type):
    head = f'Content-Disposition: form-data; name="{name}"; filename="CT.dcm"'
    head += f"\r\nContent-Type: {media_type}" if media_type else ""
    answer = await service.ask("POST", UPLOAD.format(patient), patient=patient, **multipart((head, ct)))
    assert answer.status == 200


async def test_a_file_without_a_name_is_one_by_its_type(service, patient, ct):
    head = 'Content-Disposition: form-data; name="body"\r\nContent-Type: application/dicom'
    answer = await service.ask("POST", UPLOAD.format(patient), patient=patient, **multipart((head, ct)))
    assert answer.status == 200


async def test_fields_beside_the_file_are_passed_over(service, patient, ct):
    text = ('Content-Disposition: form-data; name="comment"', b"hello")
    answer = await service.ask("POST", UPLOAD.format(patient), patient=patient, **multipart(text, (FILE, ct), text))
    assert answer.status == 200


async def test_the_same_bytes_twice_are_one_instance(service, patient, ct):
    first = await service.upload(patient, ct)
    second = await service.upload(patient, ct, name="again.dcm")
    assert (second.status, second.json()) == (200, first.json())
    assert await count(service, patient) == 1


async def test_the_same_bytes_on_ten_connections_at_once_are_one_instance(service, patient, ct):
    answers = await asyncio.gather(*[service.upload(patient, ct) for _ in range(10)])
    assert {answer.status for answer in answers} == {200}
    assert len({answer.json() for answer in answers}) == 1
    assert await count(service, patient) == 1  # that one original is left is tested where inserts are atomic


async def test_two_patients_with_the_same_bytes_never_learn_of_each_other(service, ct):
    one, other = next(service.patients), next(service.patients)
    first, second = await service.upload(one, ct), await service.upload(other, ct)
    assert first.json() != second.json()


async def test_a_cut_file_is_stored_and_said_to_be_cut(service, patient, ct):
    answer = await service.upload(patient, ct[:2000])
    assert answer.status == 200
    assert "byte" in answer.headers["Warning"]


async def test_a_caller_that_does_not_want_to_wait_gets_202(service, patient, ct):
    answer = await service.upload(patient, ct, headers={"Prefer": "wait=1, respond-async"})
    assert answer.status == 202
    assert answer.headers["Preference-Applied"] == "respond-async"
    path = answer.headers["Location"]
    assert path.endswith(answer.json())
    pending = await service.ask("GET", f"{path}/tags", patient=patient)
    assert pending.status in {200, 503}
    original = await service.ask("GET", path, patient=patient)
    assert original.body == ct
    described = await service.ask("GET", path, patient=patient, headers={"Accept": "application/json"})
    assert described.json()["extraction"]["state"] in {"pending", "done"}


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("CT.dcm", "CT.dcm"),
        ("../../etc/passwd", "passwd"),
        ("C:\\\\scans\\\\CT.dcm", "CT.dcm"),
        ("Schädel ①.dcm", "Schädel ①.dcm"),
        ("a\x1b[31mb\x07.dcm", "a[31mb.dcm"),
        ("a\u202egpj.dcm", "agpj.dcm"),
        ("", "unnamed.dcm"),
        ("x" * 300, "x" * 255),
    ],
)
async def test_a_file_name_is_kept_without_what_could_do_harm(service, patient, ct, sent, kept):
    head = f'Content-Disposition: form-data; name="body"; filename="{sent}"\r\nContent-Type: application/dicom'
    answer = await service.ask("POST", UPLOAD.format(patient), patient=patient, **multipart((head, ct)))
    assert answer.status == 200
    listed = await service.ask("GET", UPLOAD.format(patient), patient=patient)
    assert listed.json()["instances"][0]["file_name"] == kept


# --- what is not ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content_type", ["text/plain", "multipart/mixed; boundary=a", "application/json", "", "nonsense"]
)
async def test_another_body_type_is_refused(service, patient, ct, content_type):
    await refused(service, patient, 415, data=ct, headers={"Content-Type": content_type})


async def test_a_part_of_another_type_is_refused(service, patient, ct):
    await refused(service, patient, 415, data=form(("body", ct, {"filename": "a", "content_type": "image/png"})))


async def test_a_form_without_a_file_is_refused(service, patient, ct):
    text = 'Content-Disposition: form-data; name="body"'
    await refused(service, patient, 422, **multipart())
    await refused(service, patient, 422, **multipart((text, ct)))


async def test_a_form_with_two_files_is_refused_also_when_the_first_is_good(service, patient, ct):
    answer = await refused(service, patient, 422, **multipart((FILE, ct), (FILE, ct)))
    assert "one" in answer.detail


async def test_an_empty_file_is_refused(service, patient):
    await refused(service, patient, 422, **multipart((FILE, b"")))
    await refused(service, patient, 422, data=b"", headers={"Content-Type": "application/dicom"})


@pytest.mark.parametrize(
    "content",
    [
        b"hello, this is plain text, and a good deal of it\n" * 200,
        b"%PDF-1.7\n" + b"0" * 5000,
        b"\x89PNG\r\n\x1a\n" + b"\x00" * 5000,
        b"PK\x03\x04" + b"\x00" * 5000,
        b"\x7fELF" + b"\x00" * 5000,
        b"\x00" * 5000,
        b"x",
        b"{}",
    ],
)
async def test_what_is_not_dicom_is_refused(service, patient, content):
    answer = await refused(service, patient, 422, **multipart((FILE, content)))
    assert answer.json()["code"] == "not-dicom"


async def test_a_form_that_is_cut_off_is_refused(service, patient, ct):
    request = multipart((FILE, ct))
    for length in (100, 5000, len(request["data"]) - 10):
        await refused(service, patient, 422, data=request["data"][:length], headers=request["headers"])


async def test_a_form_with_another_boundary_than_it_says_is_refused(service, patient, ct):
    await refused(service, patient, 422, **multipart((FILE, ct), boundary="abc"))
    await refused(service, patient, 422, data=b"x", headers={"Content-Type": "multipart/form-data"})


async def test_a_compressed_upload_is_refused_and_not_inflated(service, patient, ct):
    headers = {"Content-Type": "application/dicom", "Content-Encoding": "gzip"}
    await refused(service, patient, 415, data=gzip.compress(ct), headers=headers)
    await refused(service, patient, 415, data=ct, headers={**headers, "Content-Encoding": "br"})
    encoded = FILE + "\r\nContent-Encoding: gzip"
    await refused(service, patient, 415, **multipart((encoded, gzip.compress(ct))))
    await refused(service, patient, 415, **multipart((FILE + "\r\nContent-Transfer-Encoding: base64", b"AAAA")))


async def test_a_body_that_says_it_is_too_long_is_refused_before_it_is_sent(service, patient):
    head = (
        f"POST {UPLOAD.format(patient)} HTTP/1.1\r\nHost: x\r\naccess-token: {service.token(patient)}\r\n"
        f"Content-Type: application/dicom\r\nContent-Length: {MAX_UPLOAD_BYTES + 1}\r\n\r\n"
    )
    answer = await service.raw(head.encode())
    assert answer.status == 413
    assert answer.headers["Connection"] == "close"


async def test_a_body_that_turns_out_too_long_is_refused_while_it_arrives(service, patient, ct):
    sent = 0

    async def endless():
        nonlocal sent
        yield ct
        while sent < 50 * MAX_UPLOAD_BYTES:
            sent += 1 << 16
            yield bytes(1 << 16)

    answer = await refused(service, patient, 413, data=endless(), headers={"Content-Type": "application/dicom"})
    assert answer.json()["code"] == "too-large"
    assert sent < 40 * MAX_UPLOAD_BYTES


async def test_a_form_whose_file_is_too_long_is_refused(service, patient, ct):
    await refused(service, patient, 413, **multipart((FILE, ct + bytes(MAX_UPLOAD_BYTES))))


async def test_nothing_is_asked_for_before_the_caller_is_known(service, patient, ct):
    """`Expect: 100-continue` gets its answer at once where that is a refusal, and the body is never sent."""
    head = (
        f"POST {UPLOAD.format(patient)} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
        f"Content-Type: application/dicom\r\nContent-Length: {len(ct)}\r\n"
    )
    assert (await service.raw(f"{head}\r\n".encode())).status == 401
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(f"{head}access-token: {service.token(patient)}\r\n\r\n".encode())
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5) == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(ct)
    assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_an_upload_whose_sender_goes_away_leaves_nothing(service, patient, ct):
    _, writer = await asyncio.open_connection("127.0.0.1", service.port)
    head = (
        f"POST {UPLOAD.format(patient)} HTTP/1.1\r\nHost: x\r\naccess-token: {service.token(patient)}\r\n"
        f"Content-Type: application/dicom\r\nContent-Length: {len(ct)}\r\n\r\n"
    )
    writer.write(head.encode() + ct[:20_000])
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.transport.abort()
    await asyncio.sleep(0.1)
    assert await count(service, patient) == 0
    assert list(service.settings.spool_dir.iterdir()) == []


async def test_a_chunked_body_that_breaks_the_rules_is_refused(service, patient):
    head = (
        f"POST {UPLOAD.format(patient)} HTTP/1.1\r\nHost: x\r\naccess-token: {service.token(patient)}\r\n"
        f"Content-Type: application/dicom\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    answer = await service.raw(head.encode() + b"5\r\nhello\r\nzz\r\n")
    assert answer.status == 400


async def test_a_body_that_stops_arriving_is_given_up(start, ct):
    hasty = await start(body_timeout=0.2)
    head = (
        f"POST /patient/p/dicom HTTP/1.1\r\nHost: x\r\naccess-token: {hasty.token('p')}\r\n"
        f"Content-Type: application/dicom\r\nContent-Length: {len(ct)}\r\n\r\n"
    )
    answer = await hasty.raw(head.encode() + ct[:100])
    assert answer.status == 408
    assert answer.headers["Connection"] == "close"


async def test_a_spool_file_is_gone_when_its_upload_is(service, patient, ct):
    answer = await service.upload(patient, ct + bytes(2 << 20))
    assert answer.status == 200
    assert json.loads(answer.body)
    assert list(service.settings.spool_dir.iterdir()) == []
