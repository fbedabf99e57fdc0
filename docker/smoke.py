"""Upload a real file to the service in this container, and check what comes back.

docker compose exec -T service python - < docker/smoke.py

It prints the file's id, and stores nothing twice: a second run, after a restart say, must print the same id.
"""

import json
import os
import time
import urllib.request
from pathlib import Path

import jwt
from pydicom.data import get_testdata_file

PATIENT = f"http://127.0.0.1:{os.environ.get('PORT') or '8000'}/patient/smoke-test"
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(path: str, body: bytes | None = None, **headers: str) -> bytes:
    """Send a request with a token, and return the answer's body."""
    claims = {"patient_id": "smoke-test", "exp": int(time.time()) + 60}
    for claim, variable in (("iss", "JWT_ISSUER"), ("aud", "JWT_AUDIENCE")):
        if os.environ.get(variable):
            claims[claim] = os.environ[variable]
    headers["access-token"] = jwt.encode(
        claims, Path(os.environ["JWT_SECRET_FILE"]).read_text().strip(), algorithm="HS256"
    )
    request = urllib.request.Request(PATIENT + path, body, {k.replace("_", "-"): v for k, v in headers.items()})  # noqa: S310
    with DIRECT.open(request, timeout=30) as response:
        answer: bytes = response.read()
        return answer


file = get_testdata_file("CT_small.dcm", download=False)
original = Path(str(file)).read_bytes()
dicom_id = json.loads(ask("/dicom", original, content_type="application/dicom"))
checks = {
    "the tag": json.loads(ask(f"/dicom/{dicom_id}/tag/Modality"))["value"] == "CT",
    "the original": ask(f"/dicom/{dicom_id}", Accept="application/dicom") == original,
    "the picture": ask(f"/dicom/{dicom_id}", Accept="image/png").startswith(b"\x89PNG"),
}
failed = [name for name, passed in checks.items() if not passed]
if failed:
    raise SystemExit(f"wrong: {', '.join(failed)}")
print(dicom_id)  # noqa: T201
