"""Tokens: what opens the door, and everything that does not."""

import base64
import json
import math
import stat
import threading
import warnings

import jwt
import pytest

from service.auth import (
    CACHED_TOKENS,
    LEEWAY,
    Authenticator,
    KeySet,
    VerificationKey,
    keep_dev_secret,
    mint_token,
    shared_secret,
)
from service.errors import Unauthorized

SECRET = "correct horse battery staple, 32 bytes and more"
NOW = 1_700_000_000.0


class Clock:
    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def door(clock):
    return Authenticator(shared_secret(SECRET), clock=clock)


def sign(payload=None, secret=SECRET, headers=None, algorithm="HS256"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyJWT warns of short keys, which some of these are
        return jwt.encode(
            {"patient_id": "p-1", "exp": NOW + 60, **(payload or {})}, secret, algorithm=algorithm, headers=headers
        )


def raw(header, payload, signature=b""):
    def encode(part):
        data = part if isinstance(part, bytes) else json.dumps(part).encode()
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    return f"{encode(header)}.{encode(payload)}.{encode(signature)}"


def test_a_token_for_the_patient_opens_the_door(door):
    claims = door.verify(sign({"sub": "dr-1", "jti": "t-1"}), "p-1")
    assert (claims.patient_id, claims.subject, claims.token_id) == ("p-1", "dr-1", "t-1")


def test_a_minted_token_is_one(door):
    assert door.verify(mint_token(SECRET, "p é", lifetime=60, now=NOW), "p é").expires_at == NOW + 60


@pytest.mark.parametrize("patient_id", ["p-2", "P-1", "p-1 ", "", "p-1\u0301"])
def test_a_token_for_another_patient_does_not(door, patient_id):
    with pytest.raises(Unauthorized):
        door.verify(sign(), patient_id)


@pytest.mark.parametrize("patient_id", [1, None, ["p-1"], {"$ne": ""}, True])
def test_a_patient_id_that_is_no_text_does_not(door, patient_id):
    with pytest.raises(Unauthorized):
        door.verify(sign({"patient_id": patient_id}), "p-1")


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", None, "HS384", "RS256", "ES256", 7])
def test_no_other_algorithm_is_taken_whatever_the_token_says(door, algorithm):
    with pytest.raises(Unauthorized):
        door.verify(raw({"typ": "JWT", "alg": algorithm}, {"patient_id": "p-1", "exp": NOW + 60}), "p-1")


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_a_good_signature_of_another_algorithm_is_not_taken(door, algorithm):
    with pytest.raises(Unauthorized):
        door.verify(sign(algorithm=algorithm, secret=SECRET * 2), "p-1")
    with pytest.raises(Unauthorized):
        door.verify(sign(algorithm=algorithm), "p-1")


def test_another_secret_is_not_taken(door):
    with pytest.raises(Unauthorized):
        door.verify(sign(secret=SECRET + "x"), "p-1")


@pytest.mark.parametrize(
    "headers",
    [
        {"kid": "../../dev/null"},
        {"kid": "' OR 1=1"},
        {"kid": 7},
        {"jku": "https://evil.example/keys"},
        {"jwk": {"kty": "oct", "k": "AAAA"}},
        {"x5u": "https://evil.example/cert"},
        {"crit": ["exp"]},
    ],
)
def test_what_a_token_says_of_keys_is_not_followed(door, headers):
    """With the evil key it is refused; with the right one, headers that are not understood change nothing or refuse."""
    forged = raw({"typ": "JWT", "alg": "HS256", **headers}, {"patient_id": "p-1", "exp": NOW + 60}, b"x" * 32)
    with pytest.raises(Unauthorized):
        door.verify(forged, "p-1")


@pytest.mark.parametrize(
    "payload",
    [
        {"exp": NOW - LEEWAY},
        {"exp": NOW - 3600},
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": str(int(NOW) + 60)},
        {"exp": True},
        {"exp": math.inf},
        {"exp": math.nan},
        {"exp": 10**400},
        {"exp": -math.inf},
        {"nbf": NOW + LEEWAY + 1},
        {"nbf": "yesterday"},
        {"nbf": math.nan},
        {"iat": NOW + 3600},
        {"iat": "now"},
    ],
)
def test_a_token_outside_its_time_or_with_times_that_are_none_is_refused(door, payload):
    with pytest.raises(Unauthorized):
        door.verify(sign(payload), "p-1")


@pytest.mark.parametrize("payload", [{"exp": NOW - 9}, {"nbf": NOW + 9}, {"iat": NOW + 9}, {"exp": NOW + 0.5}])
def test_clocks_may_differ_by_ten_seconds(door, payload):
    assert door.verify(sign(payload), "p-1").patient_id == "p-1"


def test_a_token_without_an_end_is_refused(door):
    with pytest.raises(Unauthorized):
        door.verify(jwt.encode({"patient_id": "p-1"}, SECRET), "p-1")


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", "a.b.c", "x" * 5000, "\udcff.\udcfe.a", "é.é.é", "\x00", sign() + "x", sign()[:-2], sign() + ".x"],
)
def test_text_that_is_no_token_is_refused(door, token):
    with pytest.raises(Unauthorized):
        door.verify(token, "p-1")


@pytest.mark.parametrize("payload", [b"[]", b"null", b'"p-1"', b"[" * 20_000, b"{", b"\xff"])
def test_a_payload_that_is_no_object_is_refused_also_when_it_is_signed(door, payload):
    token = jwt.api_jws.encode(payload, SECRET, algorithm="HS256")
    with pytest.raises(Unauthorized):
        door.verify(token, "p-1")


def test_every_signature_byte_counts(door):
    token = sign()
    head, body, signature = token.split(".")
    for place in range(0, len(signature) - 1, 5):
        changed = signature[:place] + ("A" if signature[place] != "A" else "B") + signature[place + 1 :]
        with pytest.raises(Unauthorized):
            door.verify(f"{head}.{body}.{changed}", "p-1")


def test_issuer_and_audience_are_checked_where_they_are_configured(clock):
    door = Authenticator(shared_secret(SECRET), issuer="https://id.example", audience="dicom", clock=clock)
    good = {"iss": "https://id.example", "aud": ["other", "dicom"]}
    assert door.verify(sign(good), "p-1")
    for bad in ({}, {**good, "iss": "https://evil.example"}, {**good, "aud": "other"}, {"iss": good["iss"]}):
        with pytest.raises(Unauthorized):
            door.verify(sign(bad), "p-1")
    with pytest.raises(Unauthorized):
        door.verify(sign({"aud": "dicom"}), "p-1")


def test_a_token_with_an_audience_is_taken_where_none_is_configured(door):
    assert door.verify(sign({"aud": "anything", "iss": "anyone"}), "p-1")


# --- the memory of tokens ------------------------------------------------------------------------------------------


def test_a_token_is_verified_once(door, monkeypatch):
    token = sign()
    door.verify(token, "p-1")
    monkeypatch.setattr(jwt, "decode", None)
    assert door.verify(token, "p-1").patient_id == "p-1"


def test_a_remembered_token_expires_all_the_same(door, clock):
    token = sign()
    door.verify(token, "p-1")
    clock.now = NOW + 60 + LEEWAY
    with pytest.raises(Unauthorized, match="expired"):
        door.verify(token, "p-1")


def test_a_remembered_token_is_not_valid_before_its_time_when_the_clock_goes_back(door, clock):
    token = sign({"nbf": NOW})
    door.verify(token, "p-1")
    clock.now = NOW - 3600
    with pytest.raises(Unauthorized):
        door.verify(token, "p-1")


def test_a_remembered_token_opens_no_other_patient(door):
    token = sign()
    door.verify(token, "p-1")
    with pytest.raises(Unauthorized):
        door.verify(token, "p-2")


def test_a_refusal_is_not_remembered_as_anything(door, clock):
    token = sign({"nbf": NOW + 100, "exp": NOW + 200})
    with pytest.raises(Unauthorized):
        door.verify(token, "p-1")
    clock.now = NOW + 100
    assert door.verify(token, "p-1")


def test_the_memory_is_bounded(door, monkeypatch):
    monkeypatch.setattr("service.auth.CACHED_TOKENS", 5)
    for number in range(12):
        door.verify(sign({"jti": str(number)}), "p-1")
    assert len(door._verified) == 5
    assert CACHED_TOKENS <= 100_000


# --- keys ----------------------------------------------------------------------------------------------------------


def test_a_short_secret_is_refused():
    with pytest.raises(ValueError, match="32 bytes"):
        shared_secret("s" * 31)


def test_of_several_keys_a_token_names_its_own():
    first, second = (VerificationKey(name.encode() * 32, ("HS256",)) for name in "ab")
    keys = KeySet({"a": first, "b": second}, "1")
    assert keys.find("b") is second
    assert keys.find(None) is None
    assert keys.find("c") is None
    assert keys.find(["a"]) is None
    assert KeySet({"a": first}, "1").find(None) is first
    assert KeySet({"a": first}, "1").find("b") is None


def test_the_dev_secret_is_made_once_and_for_its_owner_only(tmp_path):
    folder = tmp_path / "new" / "data"
    secret = keep_dev_secret(folder)
    assert len(secret) >= 32
    assert keep_dev_secret(folder) == secret
    assert stat.S_IMODE((folder / "dev-secret").stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == ["dev-secret"]


def test_a_dev_secret_that_was_cut_off_is_made_anew(tmp_path):
    (tmp_path / "dev-secret").write_text("half")
    assert len(keep_dev_secret(tmp_path)) >= 32


def test_two_processes_that_start_at_once_agree_on_the_dev_secret(tmp_path):
    found = []
    start = threading.Barrier(8)

    def race():
        start.wait()
        found.append(keep_dev_secret(tmp_path))

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
