"""Nothing that a real service writes, and no refusal that it gives, says anything of a patient."""

import json
import re
import signal
import socket
import threading
import time
from contextlib import closing
from io import BytesIO
from urllib.parse import quote

import pytest
from aiohttp import hdrs
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEGBaseline8Bit

from service.app import create_app
from service.settings import Settings
from tests.running_service import RunningService

WORD = "MARK7KRAM"
NUMBER = "7483920117"
DATE = "19470713"
MARKS = (WORD, NUMBER, DATE)
PATIENT = f"p-{WORD}"
UID = f"1.2.826.0.1.{NUMBER}"

TEXTS = ("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT")


def marked_file(transfer_syntax=ExplicitVRLittleEndian, pixels=bytes(range(64))):
    """A file that holds a mark wherever a value can stand."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = transfer_syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = f"{UID}.3"
    dataset.file_meta.ImplementationVersionName = WORD
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{UID}.1", f"{UID}.2"
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = f"{WORD}^{WORD}", WORD, DATE
    dataset.PatientComments = dataset.StudyDescription = dataset.AccessionNumber = WORD
    dataset.StudyDate, dataset.StudyTime, dataset.AcquisitionDateTime = DATE, "070713", f"{DATE}070713"
    dataset.InstanceNumber, dataset.SliceThickness = NUMBER, f"{NUMBER}.5"
    dataset.SpecificCharacterSet = "ISO_IR 100"
    item = Dataset()
    item.ReferencedSOPInstanceUID, item.PatientName = f"{UID}.9", WORD
    dataset.ReferencedImageSequence = [item]
    for group in (0x0009, 0x0011):
        block = dataset.private_block(group, f"{WORD} {group}", create=True)
        for offset, vr in enumerate(TEXTS):
            block.add_new(offset, vr, WORD)
        block.add_new(0x20, "UN", WORD.encode())
        block.add_new(0x21, "UI", UID)
    dataset.Rows = dataset.Columns = 8
    dataset.SamplesPerPixel, dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 1, 8, 8, 7
    dataset.PixelRepresentation, dataset.PhotometricInterpretation = 0, "MONOCHROME2"
    dataset.add_new(0x7FE00010, "OB" if transfer_syntax.is_encapsulated else "OW", pixels)
    dataset["PixelData"].is_undefined_length = transfer_syntax.is_encapsulated
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    # What pydicom would not write: a number that is none, and a character set that there is not.
    content = buffer.getvalue().replace(f"{NUMBER}.5".encode(), WORD.encode().ljust(len(NUMBER) + 2))
    return content.replace(b"ISO_IR 100", WORD.encode().ljust(10))


def undecodable_file():
    fragment = WORD.encode() * 8
    item = b"\xfe\xff\x00\xe0" + len(fragment).to_bytes(4, "little") + fragment
    return marked_file(JPEGBaseline8Bit, b"\xfe\xff\x00\xe0\x00\x00\x00\x00" + item)


def form(content, name):
    boundary = "boundary"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="body"; filename="{name}"\r\n\r\n'
    return head.encode() + content + f"\r\n--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


class Witness:
    """Asks a service, and keeps every refusal."""

    def __init__(self, service):
        self.service = service
        self.refusals = []
        self.statuses = set()

    def ask(self, method, path, body=None, patient=PATIENT, **headers):
        status, got, answer = self.service.request(method, path, body, patient, **headers)
        self.statuses.add(status)
        assert status != 500, (method, path, answer)
        # STOW-RS has to name the instances that it did not store (PS3.18 10.5.3); every other refusal is a problem.
        if status >= 400 and not (status == 409 and got["Content-Type"] == "application/dicom+json"):
            self.refusals.append(f"{status} {got} {answer.decode()}")
        return status, got, answer

    def send(self, request):
        """Send bytes as they are, and keep what comes back."""
        with closing(socket.create_connection(("127.0.0.1", self.service.port), timeout=5)) as connection:
            connection.sendall(request)
            answer = connection.recv(1 << 16)
        assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")), answer
        self.refusals.append(answer.decode("latin-1"))


def routes():
    app = create_app(Settings(jwt_secret="s" * 32, dev_mode=True))
    found = {(route.method, route.resource.canonical) for route in app.router.routes()}
    return {(method, path) for method, path in found if method != hdrs.METH_HEAD}  # answered as GET is


def concrete(template, dicom_id):
    for name, value in (
        ("patient_id", PATIENT),
        ("dicom_id", dicom_id),
        ("tag", "PatientName"),
        ("path", "PixelData"),
        ("study", f"{UID}.1"),
        ("series", f"{UID}.2"),
        ("instance", f"{UID}.3"),
        ("frames", "1"),
        ("share_id", "00000000-0000-4000-8000-000000000000"),
    ):
        template = template.replace(f"{{{name}}}", value)
    assert "{" not in template
    return template


def walk_routes(witness, dicom_id, *, deleting):
    """Ask every route rightly, for something else, with wrong tokens, with wrong methods, and wrongly."""
    for method, template in sorted(routes()):
        if (method == hdrs.METH_DELETE) is not deleting:
            continue
        path = concrete(template, dicom_id)
        witness.ask(method, path)
        witness.ask(method, f"{path}?{WORD}={WORD}&window={WORD}&frame={WORD}&limit={WORD}&fields={WORD}")
        witness.ask(method, path, Accept=f"{WORD}/{WORD}", Range=f"bytes={WORD}", If_None_Match=WORD, Prefer=WORD)
        witness.ask(method, path, Accept="image/png", content_type=f"{WORD}/{WORD}")
        witness.ask(method, path, patient="p-2")
        if template.startswith("/patient/"):
            witness.ask(method, path.replace(PATIENT, f"{PATIENT}-2"))
            witness.ask(method, f"{path}/{WORD}")
            witness.ask(method, path.replace(PATIENT, f"{PATIENT}%zz"))
        witness.ask("PUT", path)


def ask_wrongly(witness, path, base):
    """Ask of one instance what cannot be answered."""
    for tail in (
        f"/tag/{WORD}",
        "/tag/%zz",
        f"/tag/{quote('PatientName[0].')}{WORD}",
        f"/tag/{WORD}:0009xx01",
        "/tag/00101010",
        f"/bulkdata/{WORD}",
        "?frame=2",
        f"?window={WORD},{WORD}",
        f"?voi={WORD}",
    ):
        witness.ask("GET", path + tail, Accept="image/png" if "?" in tail else "*/*")
    for query in (
        f"{WORD}={WORD}",
        f"StudyDate={WORD}",
        f"SliceThickness={WORD}",
        f"PatientName={WORD}*",
        f"orderby={WORD}",
    ):
        witness.ask("GET", f"{base}/dicom?{query}")
        witness.ask("GET", f"{base}/dicomweb/studies?{query}")
    for body, kind in (
        (WORD.encode(), "application/dicom"),
        (WORD.encode(), WORD),
        (WORD.encode(), f"multipart/form-data; boundary={WORD}"),
        (f"--{WORD}\r\n{WORD}".encode(), f"multipart/form-data; boundary={WORD}"),
        (f"--{WORD}\r\n{WORD}: {WORD}\r\n\r\n{WORD}\r\n--{WORD}--".encode(), f"multipart/related; boundary={WORD}"),
        (marked_file()[:200] + WORD.encode() * 10, "application/dicom"),
    ):
        witness.ask("POST", f"{base}/dicom", body, content_type=kind, content_disposition=f'x; filename="{WORD}"')
        witness.ask("POST", f"{base}/dicomweb/studies", body, content_type=kind)


def send_what_is_not_http(witness):
    """Send what aiohttp's parser refuses: it would repeat it, and log it with a traceback."""
    mark = WORD.encode()
    for request in (
        b"GET /patient/" + mark + b"\xff\xfe/dicom HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /patient/" + mark + b" x/dicom HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\naccess-token: " + mark + b"\x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\naccess-token: " + mark * 2000 + b"\r\n\r\n",
        b"GET /" + mark * 2000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: " + mark + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: " + mark + b"\r\n\r\n",
        mark + b" / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01" + mark + b"\r\n\r\n",
    ):
        witness.send(request)


def crash_in_a_job(witness, path):
    """Have a worker end in the middle of a job as by a fault in a codec; the interpreter says then where it was."""
    workers = [each for each in witness.service.family() if "service.workers.child" in each.cmdline()]
    assert workers
    for worker in workers:
        worker.suspend()
    asking = threading.Thread(target=witness.ask, args=("GET", path), kwargs={"Accept": "image/png"})
    asking.start()
    time.sleep(0.3)
    for worker in workers:
        worker.send_signal(signal.SIGSEGV)
        worker.resume()
    asking.join(30)
    assert not asking.is_alive()


@pytest.mark.parametrize("form_of_log", ["json", pytest.param("text", marks=pytest.mark.long)])
def test_no_output_and_no_refusal_says_anything_of_a_patient(tmp_path, form_of_log):
    # Python's own warnings and asyncio's debug mode speak most.
    variables = {"LOG_LEVEL": "DEBUG", "LOG_FORMAT": form_of_log, "PYTHONWARNINGS": "always", "PYTHONASYNCIODEBUG": "1"}
    with RunningService(tmp_path / "data", **variables) as service:
        witness, base = Witness(service), f"/patient/{PATIENT}"
        body, kind = form(marked_file(), f"{WORD}.dcm")
        status, _, answer = witness.ask("POST", f"{base}/dicom", body, content_type=kind)
        assert status == 200, answer
        dicom_id = json.loads(answer)
        path = f"{base}/dicom/{dicom_id}"
        assert WORD in witness.ask("GET", f"{path}/tags")[2].decode()  # the marks are there to be told
        broken = service.upload(undecodable_file(), PATIENT)
        assert witness.ask("GET", f"{base}/dicom/{broken}", Accept="image/png")[0] == 422
        walk_routes(witness, dicom_id, deleting=False)
        ask_wrongly(witness, path, base)
        send_what_is_not_http(witness)
        for token in (WORD, service.token(PATIENT)[:-2] + "xx", f"{WORD}.{WORD}.{WORD}"):
            with closing(service.connect()) as connection:
                connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
                response = connection.getresponse()
                witness.refusals.append(f"{response.headers} {response.read().decode()}")
                assert response.status == 401
        crash_in_a_job(witness, f"{path}?size=4")
        service.database().kill()
        witness.ask("GET", f"{path}/tag/PatientName")
        until = time.monotonic() + 30
        while witness.ask("GET", "/readyz")[0] != 200:
            assert time.monotonic() < until
            time.sleep(0.1)
        walk_routes(witness, dicom_id, deleting=True)
        figures = witness.ask("GET", "/metrics")[2].decode()
        assert service.stop() == 0
    output = service.log.read_text()
    if form_of_log == "json":
        assert all(json.loads(line)["level"] for line in output.splitlines())
    secrets = [
        *MARKS,
        PATIENT,
        dicom_id,
        *(part for token in service._tokens.values() for part in token.split(".")[1:]),
    ]
    secrets += [(tmp_path / "data" / "dev-secret").read_text()]
    shown = {"output": output, "metrics": figures, "refusals": "\n".join(witness.refusals)}
    for name, text in shown.items():
        for secret in secrets:
            found = re.search(f".*{re.escape(secret)}.*", text, re.IGNORECASE)
            assert not found, f"{name}: {found and found[0][:300]}"
        assert "Traceback" not in text
    # It did speak: of every kind of thing that happened.
    for told in (
        "(not HTTP)",
        "(no route)",
        "lost, exit status",
        "Segmentation fault",
        "ended with status",
        "401",
        "422",
    ):
        assert told in output, told
    assert {200, 400, 401, 404, 405, 406, 415, 422} <= witness.statuses
