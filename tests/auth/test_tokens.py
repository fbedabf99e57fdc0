"""Tokens: what opens the door, and everything that does not."""

import math
import stat
import threading
import warnings

import jwt
import pytest

from service.auth.keys import read_key_set, shared_secret
from service.auth.tokens import (
    CACHED_TOKENS,
    DELETE,
    LEEWAY,
    READ,
    SCOPES,
    SHARE,
    WRITE,
    Authenticator,
    UnknownKey,
    keep_dev_secret,
    mint_token,
)
from service.errors import Forbidden, Unauthorized
from tests.auth.issuer import KINDS, as_set, encode, raw

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


def seal(header, payload):
    """A token whose header and payload are anything at all, with a good signature."""
    head, body = encode(header), encode(payload)
    signature = jwt.get_algorithm_by_name("HS256").sign(f"{head}.{body}".encode(), SECRET.encode())
    return f"{head}.{body}.{encode(signature)}"


def test_a_token_for_the_patient_opens_the_door(door):
    claims = door.verify(sign({"sub": "dr-1", "jti": "t-1"}), "p-1")
    assert (claims.patient_id, claims.subject, claims.token_id) == ("p-1", "dr-1", "t-1")


def test_a_minted_token_is_one(door):
    assert door.verify(mint_token(SECRET, "p é", lifetime=60, now=NOW), "p é").expires_at == NOW + 60


@pytest.mark.parametrize("patient_id", ["p-2", "P-1", "p-1 ", "", "p-1\u0301"])
def test_a_token_for_another_patient_does_not(door, patient_id):
    with pytest.raises(Unauthorized):
        door.verify(sign(), patient_id)


@pytest.mark.parametrize("patient_id", [1, 1.0, None, True, [], ["p-1"], {"$ne": ""}, {"p-1": "p-1"}, "\ud800"])
@pytest.mark.parametrize("asked", ["p-1", "", "1", "None"])
def test_a_patient_id_that_is_no_text_does_not(door, patient_id, asked):
    with pytest.raises(Unauthorized):
        door.verify(sign({"patient_id": patient_id}), asked)


def test_a_token_without_a_patient_does_not(door):
    for asked in ("p-1", "", "None"):
        with pytest.raises(Unauthorized):
            door.verify(jwt.encode({"exp": NOW + 60, "sub": "p-1"}, SECRET), asked)


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
        {"x5c": ["AAAA"]},
        {"crit": ["exp"]},
        {"b64": False},
    ],
)
def test_what_a_token_says_of_keys_is_not_followed(door, headers):
    """With the evil key it is refused; with the right one, headers that are not understood change nothing or refuse."""
    forged = raw({"typ": "JWT", "alg": "HS256", **headers}, {"patient_id": "p-1", "exp": NOW + 60}, b"x" * 32)
    with pytest.raises(Unauthorized):
        door.verify(forged, "p-1")


@pytest.mark.parametrize(
    "headers",
    [
        {"crit": ["exp"], "exp": 1},
        {"crit": ["b64"], "b64": True},
        {"crit": []},
        {"crit": None},
        {"b64": True},
        {"kid": 7},
        {"kid": None},
        {"kid": ["a"]},
        {"kid": {"a": 1}},
        {"kid": "\ud800"},
    ],
)
def test_a_good_signature_does_not_make_up_for_a_header_that_must_not_be(door, headers):
    with pytest.raises(Unauthorized):
        door.verify(seal({"typ": "JWT", "alg": "HS256", **headers}, {"patient_id": "p-1", "exp": NOW + 60}), "p-1")


@pytest.mark.parametrize(
    "headers", [{"jku": "https://evil.example/"}, {"x5t": "abc"}, {"kid": "any"}, {"typ": "at+jwt"}]
)
def test_headers_that_are_not_needed_change_nothing(door, headers):
    assert door.verify(sign(headers=headers), "p-1")


@pytest.mark.parametrize(
    ("header", "payload"),
    [
        (b'{"alg":"HS256","alg":"HS256"}', b'{"patient_id":"p-1","exp":1700000060}'),
        (b'{"alg":"none","alg":"HS256"}', b'{"patient_id":"p-1","exp":1700000060}'),
        (b'{"alg":"HS256"}', b'{"patient_id":"p-2","exp":1700000060,"patient_id":"p-1"}'),
        (b'{"alg":"HS256"}', b'{"patient_id":"p-1","exp":1,"exp":1700000060}'),
        (b'{"alg":"HS256"}', b'{"patient_id":"p-1","exp":1700000060,"x":{"a":1,"a":2}}'),
        (b'{"alg":"HS256"}', b'{"patient_id":"p-1","exp":1700000060,"x":NaN}'),
        (b'{"alg":"HS256"}', b'{"patient_id":"p-1","exp":1700000060,"x":-Infinity}'),
        (b'{"alg":"HS256"}', '{"patient_id":"p-1","exp":1700000060}'.encode("utf-16")),
        (b'{"alg":"HS256"}', b'\xef\xbb\xbf{"patient_id":"p-1","exp":1700000060}'),
        (b'{"alg":"HS256"}', b'{"patient_id":"p-1","exp":1700000060,"x":"\xff"}'),
        (b'{"alg":"HS256"}', b'{"patient_id":"p-1","exp":1700000060,"x":' + b"9" * 5000 + b"}"),
        ('{"alg":"HS256"}'.encode("utf-16"), b'{"patient_id":"p-1","exp":1700000060}'),
    ],
)
def test_json_that_two_readers_could_read_differently_is_refused_also_when_it_is_signed(door, header, payload):
    with pytest.raises(Unauthorized):
        door.verify(seal(header, payload), "p-1")


@pytest.mark.parametrize("claims", [{"sub": 7}, {"sub": None}, {"sub": ["a"]}, {"jti": 7}, {"jti": "\udfff"}])
def test_who_and_which_token_are_texts_where_they_are_said(door, claims):
    with pytest.raises(Unauthorized):
        door.verify(sign(claims), "p-1")


# --- scopes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [
        ("dicom:read", {READ}),
        ("dicom:write dicom:read", {READ, WRITE}),
        ("openid  profile dicom:delete", {DELETE}),
        (["dicom:read", "dicom:delete"], {READ, DELETE}),
        ("", set()),
        ([], set()),
        ("dicom", set()),
        ("dicom:*", set()),
        ("DICOM:READ", set()),
        ("dicom:read,dicom:write", set()),
        ("dicom:read\tdicom:write", set()),
        (["dicom:read dicom:write"], set()),
    ],
)
def test_a_scope_allows_what_it_names_and_nothing_else(door, scope, allowed):
    claims = door.verify(sign({"scope": scope}), "p-1")
    assert claims.scopes == allowed
    for each in SCOPES - allowed:
        with pytest.raises(Forbidden) as refusal:
            claims.require(each)
        assert refusal.value.scope == each
    for each in allowed:
        claims.require(each)


def test_a_token_without_a_scope_does_all_but_let_others_see(door):
    assert door.verify(sign(), "p-1").scopes == SCOPES - {SHARE} == {READ, WRITE, DELETE}


@pytest.mark.parametrize(
    "scope", [None, 7, True, {}, {"dicom:read": True}, [7], ["dicom:read", None], [["dicom:read"]]]
)
def test_a_scope_of_another_type_is_refused_and_does_not_count_as_missing(door, scope):
    with pytest.raises(Unauthorized):
        door.verify(sign({"scope": scope}), "p-1")


# --- public keys ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_key_verifies_its_tokens_and_no_others(issuer, clock, kind):
    door = Authenticator(read_key_set(issuer.key_set()), clock=clock)
    token = issuer.keys[kind].sign(exp=NOW + 60)
    assert door.verify(token, "p-1").patient_id == "p-1"
    assert Authenticator(read_key_set(as_set(issuer.keys[kind])), clock=clock).verify(token, "p-1")
    family = ("RS256", "RS384", "RS512", "PS256") if kind[0] in "RP" else (kind,)
    others = [key for other, key in issuer.keys.items() if other not in family]
    with pytest.raises(Unauthorized):
        Authenticator(read_key_set(as_set(*others)), clock=clock).verify(token, "p-1")
    for other in others:
        with pytest.raises(Unauthorized):
            door.verify(issuer.keys[kind].sign(exp=NOW + 60, headers={"kid": other.kid}), "p-1")


def test_a_key_that_is_not_known_is_told_from_a_signature_that_is_wrong(issuer, clock):
    door = Authenticator(read_key_set(as_set(issuer.keys["ES256"])), clock=clock)
    with pytest.raises(UnknownKey):
        door.verify(issuer.keys["ES384"].sign(exp=NOW + 60), "p-1")
    for token in (
        issuer.keys["ES384"].sign(exp=NOW + 60, headers={"kid": "k-ES256"}),
        raw({"alg": "ES256", "kid": "k-ES256"}, {"patient_id": "p-1", "exp": NOW + 60}),
        raw({"alg": "none", "kid": "k-ES256"}, {"patient_id": "p-1", "exp": NOW + 60}),
    ):
        with pytest.raises(Unauthorized) as refusal:
            door.verify(token, "p-1")
        assert not isinstance(refusal.value, UnknownKey)


# --- times ---------------------------------------------------------------------------------------------------------


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
    assert door.verify(sign({**good, "aud": "dicom"}), "p-1")
    bad_audiences = [{**good, "aud": aud} for aud in (None, [], {}, ["dicom", 7], {"dicom": 1}, "Dicom", "dicom ", "")]
    bad_issuers = [{**good, "iss": iss} for iss in (None, [good["iss"]], {}, "https://id.example/", "", 7)]
    for bad in (
        *bad_audiences,
        *bad_issuers,
        {},
        {**good, "iss": "https://evil.example"},
        {**good, "aud": "other"},
        {"iss": good["iss"]},
    ):
        with pytest.raises(Unauthorized):
            door.verify(seal({"alg": "HS256"}, {"patient_id": "p-1", "exp": NOW + 60, **bad}), "p-1")
    with pytest.raises(Unauthorized):
        door.verify(sign({"aud": "dicom"}), "p-1")


def test_a_token_with_an_audience_is_taken_where_none_is_configured(door):
    assert door.verify(sign({"aud": "anything", "iss": "anyone"}), "p-1")


# --- the memory of tokens ------------------------------------------------------------------------------------------


def test_a_token_is_verified_once(door, monkeypatch):
    token = sign()
    door.verify(token, "p-1")
    monkeypatch.setattr("service.auth.tokens.jwt.decode", None)
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
    monkeypatch.setattr("service.auth.tokens.CACHED_TOKENS", 5)
    for number in range(12):
        door.verify(sign({"jti": str(number)}), "p-1")
    assert len(door._verified) == 5
    assert CACHED_TOKENS <= 100_000


@pytest.mark.parametrize(
    ("ahead", "taken"), [(1000, True), (1000 + LEEWAY, True), (1012, False), (1e9, False), (1e300, False)]
)
def test_a_token_that_expires_too_far_ahead_is_refused(clock, ahead, taken):
    door = Authenticator(shared_secret(SECRET), clock=clock, max_lifetime=1000)
    token = sign({"exp": NOW + ahead})
    if taken:
        assert door.verify(token, "p-1")
        return
    with pytest.raises(Unauthorized, match="expires later than a token may"):
        door.verify(token, "p-1")


# --- the dev secret ---------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("content", [b"", b" \n", b"\xc3\xa4" * 40, b"\xff" * 64])
def test_a_dev_secret_that_cannot_be_used_is_made_anew(tmp_path, content):
    path = tmp_path / "dev-secret"
    path.write_bytes(content)
    path.chmod(0o644)
    secret = keep_dev_secret(tmp_path)
    assert len(secret) >= 32
    assert keep_dev_secret(tmp_path) == secret == path.read_text("ascii")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["dev-secret"]


def test_a_dev_secret_that_others_could_read_is_for_its_owner_again(tmp_path):
    secret = keep_dev_secret(tmp_path)
    (tmp_path / "dev-secret").chmod(0o644)
    assert keep_dev_secret(tmp_path) == secret
    assert stat.S_IMODE((tmp_path / "dev-secret").stat().st_mode) == 0o600


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
