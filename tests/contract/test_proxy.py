"""The proxy of docker compose in front of a service: Caddy itself, where it is installed."""

import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from pydicom.data import get_testdata_file

from tests.running_service import ROOT

CADDYFILE = ROOT / "docker" / "caddy" / "Caddyfile"
CT = Path(str(get_testdata_file("CT_small.dcm", download=False))).read_bytes()
START_SECONDS = 30


@pytest.fixture(scope="module")
def caddy():
    program = shutil.which("caddy")
    if program:
        return program
    reason = "caddy is not here: it is a package of Debian and Ubuntu"
    if os.environ.get("REQUIRE_CONTRACT_TOOLS"):
        pytest.fail(reason)
    pytest.skip(reason)


def free_port():
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Proxy:
    """Caddy with the Caddyfile of docker compose, and how to speak to it."""

    def __init__(self, program, folder, service_port):
        self.port, self.health_port = free_port(), free_port()
        self.host = f"localhost:{self.port}"
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "XDG_DATA_HOME": str(folder / "data"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "SITE": self.host,
            "SERVICE": "127.0.0.1",
            "SERVICE_PORT": str(service_port),
            "HEALTH_PORT": str(self.health_port),
        }
        self.authority = folder / "data" / "caddy" / "pki" / "authorities" / "local" / "root.crt"
        self.log = folder / "caddy.log"
        with self.log.open("wb") as log:
            command = [program, "run", "--config", str(CADDYFILE), "--adapter", "caddyfile"]
            self.process = psutil.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self._wait()

    def _wait(self):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with closing(self.speak("http/1.1")):
                    return
            except OSError:
                time.sleep(0.1)
        self.stop()
        raise AssertionError(self.log.read_text())

    def speak(self, *protocols):
        """A TLS connection whose certificate is verified."""
        context = ssl.create_default_context(cafile=str(self.authority))
        context.set_alpn_protocols(protocols)
        return context.wrap_socket(
            socket.create_connection(("127.0.0.1", self.port), timeout=40), server_hostname="localhost"
        )

    def request(self, method, path, body=None, **headers):
        """Send one request, and give (status, headers, body)."""
        context = ssl.create_default_context(cafile=str(self.authority))
        with closing(http.client.HTTPSConnection("localhost", self.port, timeout=40, context=context)) as connection:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named, encode_chunked=not isinstance(body, (bytes, type(None))))
            response = connection.getresponse()
            return response.status, response.headers, response.read()

    def stop(self):
        """End it."""
        self.process.terminate()
        return self.process.wait(30)


@pytest.fixture(scope="module")
def proxy(caddy, service, tmp_path_factory):
    running = Proxy(caddy, tmp_path_factory.mktemp("caddy"), service.port)
    yield running
    running.stop()


def test_it_is_formatted_as_caddy_formats_it(caddy):
    done = subprocess.run([caddy, "fmt", CADDYFILE], capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout == CADDYFILE.read_text()


def test_it_speaks_tls_with_http_2_and_http_1_and_nothing_older_than_tls_1_2(proxy):
    for protocol in ("h2", "http/1.1"):
        with closing(proxy.speak(protocol)) as connection:
            assert connection.selected_alpn_protocol() == protocol
            assert connection.version() in {"TLSv1.2", "TLSv1.3"}
    # The preface of HTTP/2 and an empty SETTINGS frame (RFC 9113, 3.4) are answered with its own settings: type 4.
    with closing(proxy.speak("h2")) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
        assert connection.recv(9)[3] == 4


def test_files_go_in_and_come_out_as_they_were_and_links_lead_back_to_the_proxy(proxy, service):
    token = service.token("p-1")
    pieces = (CT[begin : begin + 1000] for begin in range(0, len(CT), 1000))
    status, _, body = proxy.request(
        *("POST", "/patient/p-1/dicom", pieces),
        access_token=token,
        content_type="application/dicom",
        transfer_encoding="chunked",
    )
    assert status == 200, body
    path = f"/patient/p-1/dicom/{json.loads(body)}"
    assert proxy.request("GET", path, access_token=token, accept="application/dicom")[2] == CT
    part = proxy.request("GET", path, access_token=token, accept="application/dicom", range="bytes=128-131")
    assert (part[0], part[2]) == (206, b"DICM")
    _, _, body = proxy.request("GET", f"{path}/tags", access_token=token, accept="application/dicom+json")
    link = json.loads(body)[0]["7FE00010"]["BulkDataURI"]
    assert link.startswith(f"https://{proxy.host}/patient/p-1/")
    bulk = proxy.request("GET", link.removeprefix(f"https://{proxy.host}"), access_token=token)
    assert (bulk[0], len(bulk[2])) == (200, 128 * 128 * 2)


def test_figures_of_one_container_among_many_are_not_given_out(proxy):
    assert proxy.request("GET", "/healthz")[0] == 200
    assert proxy.request("GET", "/metrics")[0] == 404


def test_its_health_is_asked_without_tls_and_from_its_own_machine(proxy):
    with closing(http.client.HTTPConnection("127.0.0.1", proxy.health_port, timeout=10)) as connection:
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
    listening = {each.laddr for each in proxy.process.net_connections(kind="tcp") if each.status == "LISTEN"}
    assert {address.port for address in listening} == {proxy.port, proxy.health_port}, "no administration, no port 80"
    assert {address.ip for address in listening if address.port == proxy.health_port} == {"127.0.0.1"}


def test_headers_that_are_too_large_are_refused_by_the_proxy(proxy):
    assert proxy.request("GET", "/healthz", x_large="a" * 100_000)[0] == 431


@pytest.mark.long
def test_headers_that_never_end_are_not_waited_for(proxy):
    with closing(proxy.speak("http/1.1")) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        began = time.monotonic()
        while connection.recv(1000):
            pass
        assert 10 < time.monotonic() - began < 25


@pytest.mark.long
def test_without_a_service_it_says_so_soon(caddy, tmp_path):
    proxy = Proxy(caddy, tmp_path, free_port())
    try:
        began = time.monotonic()
        assert proxy.request("GET", "/healthz")[0] in {502, 503}
        assert time.monotonic() - began < 15
    finally:
        proxy.stop()
