"""An issuer of tokens: signing keys of every kind, the JWK Set of their public halves, and a server that publishes it.

It misbehaves where it is told to.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import ssl
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

KINDS = ("RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA")


class SigningKey:
    """A private key and its public JWK."""

    def __init__(self, algorithm: str, kid: str | None, private: Any = None) -> None:
        self.algorithm = algorithm
        self.kid = kid
        family = {"R": RSAAlgorithm, "P": RSAAlgorithm, "E": ECAlgorithm}[algorithm[0]]
        if algorithm == "EdDSA":
            family = OKPAlgorithm
        self.private = private or make_private(algorithm)
        public = family.to_jwk(self.private.public_key(), as_dict=True)
        self.jwk: dict[str, Any] = {
            name: value for name, value in public.items() if name in {"kty", "n", "e", "crv", "x", "y"}
        }
        if kid is not None:
            self.jwk["kid"] = kid

    def sign(self, patient_id: Any = "p-1", headers: Mapping[str, Any] | None = None, **claims: Any) -> str:
        payload = {"patient_id": patient_id, "exp": time.time() + 600, **claims}
        named = {} if self.kid is None else {"kid": self.kid}
        return jwt.encode(payload, self.private, algorithm=self.algorithm, headers={**named, **(headers or {})})


def make_private(algorithm: str, bits: int = 2048) -> Any:
    if algorithm[0] in "RP":
        return rsa.generate_private_key(65537, bits)
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(
        {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}[algorithm]
    )


class Issuer:
    """One key for each algorithm; those of RSA share one key pair under several names."""

    def __init__(self) -> None:
        pair = make_private("RS256")
        self.keys = {kind: SigningKey(kind, f"k-{kind}", pair if kind[0] in "RP" else None) for kind in KINDS}

    def key_set(self) -> bytes:
        return as_set(*self.keys.values())


def as_set(*keys: SigningKey | Mapping[str, Any]) -> bytes:
    return json.dumps({"keys": [key.jwk if isinstance(key, SigningKey) else key for key in keys]}).encode()


def encode(part: Any) -> str:
    data = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def raw(header: Any, payload: Any, signature: bytes = b"\0" * 32) -> str:
    """A token as it should not be: header, payload and signature as they are given."""
    return f"{encode(header)}.{encode(payload)}.{encode(signature)}"


def make_certificate(folder: Path, name: str) -> Path:
    """A certificate that signs itself, for localhost and the loopback address."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder(who, who, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(secret + certificate.public_bytes(Encoding.PEM))
    return path


class Publisher:
    """A server on loopback that publishes a JWK Set, and can be told to misbehave or to go away."""

    def __init__(self, text: bytes = b"", certificate: Path | None = None) -> None:
        self.text = text
        self.status = 200
        self.headers: dict[str, str] = {}
        self.seconds_a_byte = 0.0
        self.asked: list[tuple[float, str]] = []
        self.port = 0
        self._tls: ssl.SSLContext | None = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate)
        self.start()

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://localhost:{self.port}/keys"

    def start(self) -> None:
        publisher = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                publisher.asked.append((time.monotonic(), self.path))
                text = publisher.text
                self.send_response(publisher.status)
                for name, value in {"Content-Length": str(len(text)), **publisher.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                try:
                    if not publisher.seconds_a_byte:
                        self.wfile.write(text)
                        return
                    for byte in text:
                        self.wfile.write(bytes([byte]))
                        time.sleep(publisher.seconds_a_byte)
                except OSError:  # whoever asked has had enough
                    pass

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                pass

        self._server = Server(("127.0.0.1", self.port), Handler)
        if self._tls is not None:
            self._server.socket = self._tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
