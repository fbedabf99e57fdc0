"""Orthanc as Debian has it, with its DICOMweb plugin: another archive that pushes, queries and pulls."""

import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import requests

PROGRAM = shutil.which("Orthanc", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
PLUGIN = next(
    (
        path
        for folder in ("/usr/share/orthanc/plugins", "/usr/lib/orthanc/plugins")
        for path in (Path(folder) / "libOrthancDicomWeb.so",)
        if path.exists()
    ),
    None,
)
START_SECONDS = 60


class RunningOrthanc:
    """One Orthanc on loopback, with a folder of its own, that knows one DICOMweb server."""

    def __init__(self, folder: Path, server: str, **headers: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / "orthanc.log"
        settings = {
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "HttpPort": port,
            "DicomServerEnabled": False,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "HttpProxy": "",
            "HttpTimeout": 60,
            "Plugins": [str(PLUGIN)],
            "DicomWeb": {
                "Enable": True,
                "Servers": {"store": {"Url": f"{server}/", "HttpHeaders": headers, "HasDelete": "0"}},
            },
        }
        (folder / "orthanc.json").write_text(json.dumps(settings), "utf-8")
        # The kernel ends it with the tests, should they be killed.
        guard = shutil.which("setpriv")
        command = [*([guard, "--pdeathsig", "KILL"] if guard else []), str(PROGRAM), str(folder / "orthanc.json")]
        environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        self.session = requests.Session()
        self.session.trust_env = False
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if self.session.get(f"{self.url}/dicom-web/servers", timeout=5).json() == ["store"]:
                    return
            except requests.RequestException:
                pass
            time.sleep(0.1)
        self.stop()
        raise AssertionError(f"Orthanc did not start:\n{self.log.read_text('utf-8', 'replace')}")

    def get(self, path: str) -> requests.Response:
        answer = self.session.get(f"{self.url}{path}", timeout=60)
        assert answer.status_code == 200, answer.text
        return answer

    def post(self, path: str, body: bytes | dict) -> dict:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = self.session.post(f"{self.url}{path}", data=data, timeout=60)
        assert answer.status_code == 200, f"{answer.text}\n{self.log.read_text('utf-8', 'replace')[-3000:]}"
        return answer.json()

    def delete_all(self) -> None:
        """Forget every patient."""
        for patient in self.get("/patients").json():
            assert self.session.delete(f"{self.url}/patients/{patient}", timeout=60).status_code == 200

    def stop(self) -> None:
        """End it, however it takes that."""
        self.session.close()
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)


def free_port() -> int:
    """A port of loopback that nobody has at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
