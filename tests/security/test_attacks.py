"""Forged, stolen and broken tokens over a real socket: every one is 401, in the one shape, and nobody repeats it."""

import hashlib
import hmac
import itertools
import json
import logging
import math
import re
import time

import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from multidict import CIMultiDict
from yarl import URL

from service.errors import Unauthorized
from service.web.app_keys import AUTHENTICATOR
from service.web.server import MAX_FIELD_BYTES
from tests.auth.issuer import Publisher, SigningKey, as_set, encode, raw
from tests.web.service import SECRET, Answer, check

pytestmark = pytest.mark.asyncio(loop_scope="session")

ISSUER, AUDIENCE = "https://issuer.example", "dicom"
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
PATH = "/patient/p-1/dicom"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def trusting(start, issuer, tmp_path_factory):
    """A service that verifies with the keys of an issuer."""
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    path.write_bytes(issuer.key_set())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.auth.key_source.PACE_SECONDS", 0.005)
        return await start(jwt_secret=None, jwt_jwks=str(path), jwt_issuer=ISSUER, jwt_audience=AUDIENCE)


@pytest.fixture(scope="session")
def trap():
    """A server whose keys an attacker would like to be used."""
    with Publisher(as_set(EVIL_RSA, EVIL_CURVE)) as running:
        yield running


EVIL_RSA, EVIL_CURVE = SigningKey("RS256", "evil"), SigningKey("ES256", "evil")


def good_claims(**changed):
    return {"patient_id": "p-1", "exp": time.time() + 600, "iss": ISSUER, "aud": AUDIENCE, **changed}


def hmac_token(secret, payload, algorithm="HS256", **header):
    """A token signed as HS256 has it, with any secret and any header."""
    head, body = encode({"typ": "JWT", "alg": algorithm, **header}), encode(payload)
    return f"{head}.{body}.{encode(hmac.digest(secret, f'{head}.{body}'.encode(), hashlib.sha256))}"


WAYS = itertools.cycle((("access-token", "{}"), ("Authorization", "Bearer {}")))


async def refuse(service, token, caplog, path=PATH):
    """Ask with a token, in the one way and the other by turns, and see that it is refused and repeated nowhere."""
    caplog.set_level(logging.DEBUG)
    name, form = next(WAYS)
    headers = {name: form.replace("{}", token)}
    async with service.session.get(URL(service.url + path, encoded=True), headers=headers) as response:
        answer = Answer(response.status, response.headers, await response.read())
    check("GET", answer)
    assert answer.status == 401, (token[:200], answer.body)
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="dicom", error="invalid_token"'
    shown = answer.body.decode() + str(answer.headers) + caplog.text
    for piece in (token, *token.split(".")):
        if len(piece) > 8:
            assert piece not in shown
    assert "Traceback" not in caplog.text


async def test_the_good_ones_are_let_in(service, trusting, issuer):
    """What follows would prove nothing otherwise."""
    assert (await service.ask("GET", PATH, patient="p-1")).status == 200
    headers = {"access-token": hmac_token(SECRET.encode(), good_claims())}
    assert (await service.ask("GET", PATH, headers=headers)).status == 200
    for key in issuer.keys.values():
        headers = {"access-token": key.sign(**good_claims())}
        assert (await trusting.ask("GET", PATH, headers=headers)).status == 200, key.algorithm


# --- the algorithm -------------------------------------------------------------------------------------------------

NONES = ["none", "None", "NONE", "nOnE", "nonE", "none ", " none", "", None, [], ["none"], 0, False, {}]
OTHERS = ["hs256", "HS256 ", "HS384", "HS512", "RS256", "ES256", "EdDSA", "dir", "A128KW", "PBES2-HS256+A128KW", "\x00"]


@pytest.mark.parametrize("algorithm", [*NONES, *OTHERS, "(missing)"], ids=repr)
async def test_a_token_says_nothing_about_the_algorithm_that_counts(service, trusting, caplog, algorithm):
    header = {"typ": "JWT"} if algorithm == "(missing)" else {"typ": "JWT", "alg": algorithm}
    good = hmac_token(SECRET.encode(), good_claims(), **header)
    body = good.rpartition(".")[0]
    signed = f"{encode(header)}.{encode(good_claims())}"
    right = encode(hmac.digest(SECRET.encode(), signed.encode(), hashlib.sha256))
    for token in (f"{body}.", body, f"{body}.AAAA", f"{signed}.", f"{signed}.{right}"):
        await refuse(service, token, caplog)
        await refuse(trusting, token, caplog)
    for kid in ("k-RS256", "k-ES256", "k-EdDSA"):
        await refuse(trusting, raw({**header, "kid": kid}, good_claims(), b""), caplog)
        await refuse(trusting, raw({**header, "kid": kid}, good_claims()), caplog)


@pytest.mark.parametrize("kind", ["RS256", "ES256", "EdDSA"])
async def test_a_public_key_is_never_taken_for_a_secret(trusting, issuer, caplog, kind):
    key = issuer.keys[kind]
    public = key.private.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    texts = [
        pem,
        pem.strip(),
        pem.replace(b"\n", b""),
        pem.replace(b"\n", b"\r\n"),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(key.jwk).encode(),
        json.dumps(key.jwk, separators=(",", ":"), sort_keys=True).encode(),
        issuer.key_set(),
        key.jwk.get("n", key.jwk.get("x")).encode(),
        b"",
    ]
    if kind == "RS256":
        texts.append(public.public_bytes(Encoding.PEM, PublicFormat.PKCS1))
    for text in texts:
        for header in ({"kid": key.kid}, {}, {"kid": key.kid, "alg": kind}):
            await refuse(trusting, hmac_token(text, good_claims(), **header), caplog)


async def test_a_key_is_used_for_its_own_algorithm_only(trusting, issuer, caplog):
    rsa = issuer.keys["RS256"].private
    for algorithm in ("PS384", "PS512"):
        token = jwt.encode(good_claims(), rsa, algorithm=algorithm, headers={"kid": "k-RS256"})
        await refuse(trusting, token, caplog)
    for kind, other in (("ES256", "ES384"), ("ES384", "ES256"), ("EdDSA", "ES256"), ("RS256", "ES256")):
        await refuse(trusting, issuer.keys[kind].sign(headers={"kid": f"k-{other}"}, **good_claims()), caplog)


# --- signatures ----------------------------------------------------------------------------------------------------


def number(value, size=32):
    return value.to_bytes(size, "big")


async def test_signatures_that_are_nothing_are_nothing(trusting, caplog):
    """Zero, one and the order of the curve for r and s pass where the range is not checked (CVE-2022-21449)."""
    edges = [0, 1, P256_ORDER - 1, P256_ORDER, P256_ORDER + 1, 2**256 - 1]
    candidates = {
        "ES256": [number(r) + number(s) for r in edges for s in edges] + [b"\0" * 63, b"\0" * 65, b"\0"],
        "ES384": [b"\0" * 96, b"\xff" * 96, b"\0" * 64],
        "EdDSA": [b"\0" * 64, b"\x01" + b"\0" * 63, b"\xff" * 64],
        "RS256": [b"\0" * 256, b"\0" * 255 + b"\x01", b"\xff" * 256, b"\0", b"\0\x01" + b"\xff" * 254],
        "PS256": [b"\0" * 256, b"\xff" * 256],
    }
    for kind, signatures in candidates.items():
        for signature in signatures:
            await refuse(trusting, raw({"alg": kind, "kid": f"k-{kind}"}, good_claims(), signature), caplog)


async def test_an_ecdsa_signature_has_one_encoding(trusting, issuer, caplog):
    token = issuer.keys["ES256"].sign(**good_claims())
    signed, _, signature = token.rpartition(".")
    der = issuer.keys["ES256"].private.sign(signed.encode(), ec.ECDSA(utils.hashes.SHA256()))
    await refuse(trusting, f"{signed}.{encode(der)}", caplog)
    await refuse(trusting, f"{signed}.{signature}AA", caplog)


@pytest.mark.parametrize("part", [0, 1, 2], ids=["header", "payload", "signature"])
async def test_no_character_of_a_token_can_be_changed(service, trusting, issuer, caplog, part):
    """Every place of it below the wire, and some of them over it."""
    good = (hmac_token(SECRET.encode(), good_claims()), issuer.keys["ES256"].sign(**good_claims()))
    for running, token in zip((service, trusting), good, strict=True):
        parts = token.split(".")
        door = running.app[AUTHENTICATOR]
        assert door.verify(token, "p-1")
        text = parts[part]
        for place in range(len(text)):
            for put in {"A", "B", "_", "=", ".", ""} - {text[place]}:
                changed = [*parts]
                changed[part] = text[:place] + put + text[place + 1 :]
                with pytest.raises(Unauthorized):
                    door.verify(".".join(changed), "p-1")
        for place in (0, len(text) // 2, len(text) - 1):
            changed = [*parts]
            changed[part] = text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]
            await refuse(running, ".".join(changed), caplog)
        for end in ("A", "=", "==", ".", f".{text}"):
            await refuse(running, token + end, caplog)


async def test_parts_of_two_good_tokens_make_no_good_one(service, trusting, issuer, caplog):
    key = issuer.keys["ES256"]
    one = key.sign(**good_claims(patient_id="p-2")).split(".")
    two = key.sign(**good_claims()).split(".")
    await refuse(trusting, ".".join((one[0], two[1], one[2])), caplog)
    await refuse(trusting, ".".join((two[0], one[1], two[2])), caplog, path="/patient/p-2/dicom")
    head, body, _ = service.token("p-2").split(".")
    await refuse(service, f"{head}.{body}.{service.token('p-1').split('.')[2]}", caplog, path="/patient/p-2/dicom")


# --- what a token says of keys -------------------------------------------------------------------------------------

KIDS = [
    "../../../../../../dev/null",
    "/dev/null",
    "file:///dev/null",
    "k-ES256\x00",
    "k-ES256 ",
    "K-es256",
    "k-ES256/../k-ES256",
    "' UNION SELECT 'x' --",
    "'; DROP TABLE keys; --",
    "$(sleep 9)",
    "{{7*7}}",
    "${jndi:ldap://127.0.0.1/a}",
    "__proto__",
    "x" * 4000,
    "",
    "é",
    "\ud800",
    0,
    None,
    True,
    ["k-ES256"],
    {"$ne": None},
]


@pytest.mark.parametrize("kid", KIDS, ids=lambda kid: repr(kid)[:30])
async def test_a_key_id_only_chooses_among_the_keys_that_are_there(service, trusting, caplog, kid):
    forged = raw({"alg": "ES256", "kid": kid}, good_claims(), b"\0" * 64)
    body = forged.rpartition(".")[0]
    der = EVIL_CURVE.private.sign(body.encode(), ec.ECDSA(utils.hashes.SHA256()))
    signature = b"".join(number(each) for each in utils.decode_dss_signature(der))
    tokens = [
        f"{body}.{encode(signature)}",
        hmac_token(b"", good_claims(), kid=kid),
        hmac_token(b"x", good_claims(), kid=kid),
    ]
    for token in tokens:
        await refuse(trusting, token, caplog)
        await refuse(service, token, caplog)


@pytest.mark.parametrize("kid", ["k-RS256", "evil", None])
async def test_a_token_does_not_bring_its_own_key(service, trusting, caplog, trap, kid):
    address = trap.url
    secret = {"kty": "oct", "k": encode(b"evil" * 8)}
    brought = [
        {"jwk": EVIL_RSA.jwk},
        {"jwk": {**EVIL_RSA.jwk, "kid": "k-RS256"}},
        {"jku": address},
        {"jku": address, "kid": "evil"},
        {"x5u": address},
        {"x5c": [encode(b"certificate")]},
        {"jwks": {"keys": [EVIL_RSA.jwk]}},
        {"iss": address, "jwks_uri": address},
        {"url": address, "key": address},
        {"kid": address},
    ]
    for header in brought:
        named = {"kid": kid, **header} if kid else {"kid": "other", **header}
        await refuse(trusting, EVIL_RSA.sign(headers=named, **good_claims()), caplog)
        await refuse(trusting, hmac_token(b"evil" * 8, good_claims(), **{**named, "jwk": secret}), caplog)
        await refuse(service, hmac_token(b"evil" * 8, good_claims(), **{**named, "jwk": secret}), caplog)
    await refuse(trusting, EVIL_RSA.sign(**good_claims(iss=address)), caplog)
    assert trap.asked == []


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["exp"], "exp": 1},
        {"crit": ["b64"], "b64": False},
        {"b64": False},
        {"crit": []},
        {"crit": "b64"},
        {"crit": 1},
    ],
    ids=str,
)
async def test_what_must_be_understood_and_is_not_is_refused_with_the_right_key_too(
    service, trusting, issuer, caplog, header
):
    await refuse(service, hmac_token(SECRET.encode(), good_claims(), **header), caplog)
    key = issuer.keys["EdDSA"]
    head, body = encode({"alg": "EdDSA", "kid": key.kid, **header}), encode(good_claims())
    await refuse(trusting, f"{head}.{body}.{encode(key.private.sign(f'{head}.{body}'.encode()))}", caplog)
    await refuse(trusting, f"{head}..{encode(key.private.sign(f'{head}.'.encode()))}", caplog)


# --- claims --------------------------------------------------------------------------------------------------------

NOW = time.time()
BAD_CLAIMS = [
    {"exp": NOW - 60},
    {"exp": 0},
    {"exp": -1},
    {"exp": None},
    {"exp": str(int(NOW) + 600)},
    {"exp": "never"},
    {"exp": math.nan},
    {"exp": math.inf},
    {"exp": 10**400},
    {"exp": [NOW + 600]},
    {"exp": {"$gt": 0}},
    {"exp": True},
    {"nbf": NOW + 600},
    {"nbf": "0"},
    {"nbf": None},
    {"iat": NOW + 600},
    {"iat": None},
    {"iat": "now"},
    {"iss": "https://evil.example"},
    {"iss": ISSUER + "/"},
    {"iss": ISSUER.upper()},
    {"iss": [ISSUER]},
    {"iss": None},
    {"iss": "..."},
    {"aud": "other"},
    {"aud": ["other"]},
    {"aud": []},
    {"aud": None},
    {"aud": {"dicom": True}},
    {"aud": "..."},
    {"patient_id": "p-2"},
    {"patient_id": ["p-1"]},
    {"patient_id": ["p-1", "p-2"]},
    {"patient_id": {"$ne": None}},
    {"patient_id": {"p-1": True}},
    {"patient_id": 1},
    {"patient_id": True},
    {"patient_id": None},
    {"patient_id": ""},
    {"patient_id": "*"},
    {"patient_id": ".*"},
    {"patient_id": "%"},
    {"patient_id": "p-1\x00"},
    {"patient_id": "p-1 "},
    {"patient_id": " p-1"},
    {"patient_id": "P-1"},
    {"patient_id": "p-1\n"},
    {"patient_id": "p-1,p-2"},
    {"patient_id": "p\u20101"},
    {"patient_id": "\uff50-1"},
    {"patient_id": "p-1\u200b"},
    {"patient_id": "\ud800"},
    {"scope": None},
    {"scope": 7},
    {"scope": {"dicom:read": True}},
    {"scope": ["dicom:read", 7]},
    {"sub": {"a": 1}},
    {"jti": 7},
]


@pytest.mark.parametrize("changed", BAD_CLAIMS, ids=lambda each: re.sub(r"\d{9,}(\.\d+)?", "now", str(each)[:40]))
async def test_claims_that_do_not_open_this_door_are_refused_with_the_right_key_too(
    service, trusting, issuer, caplog, changed
):
    claims = {name: value for name, value in good_claims(**changed).items() if value != "..."}
    if not {"iss", "aud"} & changed.keys():  # the service with the secret asks for neither
        await refuse(service, hmac_token(SECRET.encode(), claims), caplog)
    key = issuer.keys["EdDSA"]
    head, body = encode({"alg": "EdDSA", "kid": key.kid}), encode(claims)
    await refuse(trusting, f"{head}.{body}.{encode(key.private.sign(f'{head}.{body}'.encode()))}", caplog)


@pytest.mark.parametrize("missing", ["exp", "patient_id"])
async def test_claims_that_must_be_there(service, caplog, missing):
    claims = good_claims()
    del claims[missing]
    await refuse(service, hmac_token(SECRET.encode(), claims), caplog)
    await refuse(service, hmac_token(SECRET.encode(), {**claims, "PATIENT_ID": "p-1", "EXP": NOW + 600}), caplog)


# --- text that is no token -----------------------------------------------------------------------------------------


async def test_other_things_that_look_like_tokens(service, trusting, caplog):
    good = service.token("p-1")
    head, body, signature = good.split(".")
    flattened = json.dumps({"payload": body, "protected": head, "signature": signature})
    general = json.dumps({"payload": body, "signatures": [{"protected": head, "signature": signature}]})
    nested = hmac_token(SECRET.encode(), good.encode(), cty="JWT")
    jwe = ".".join([encode({"alg": "dir", "enc": "A256GCM"}), "", "AAAA", "AAAA", "AAAA"])
    for token in (
        flattened,
        general,
        nested,
        jwe,
        f"{good}.{signature}",
        f"{good}.{good}",
        f"{good}, {good}x",
        f"Bearer {good}",
        f'"{good}"',
        f"{head}.{body}",
        f"{head}..{signature}",
        f".{body}.{signature}",
        f"{head}.{body}.",
        f"{head} .{body}.{signature}",
        f"{head}%2E{body}.{signature}",
        ".".join(encode(b"\xff") for _ in range(3)),
        "null",
        "undefined",
        "[object Object]",
        "...",
        "a.b.c",
        "é.é.é",
        "\u202e.a.b",
        f"{head}.{body}.{signature}é",
    ):
        await refuse(service, token, caplog)
        await refuse(trusting, token, caplog)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b'"p-1"',
        b"[" * 5000,
        b'{"a":' * 900,
        b'{"patient_id":"p-1","patient_id":"p-1","exp":9999999999}',
        b'{"exp":9999999999,"patient_id":"p-2","patient_id":"p-1"}',
        b'{"patient_id":"p-1","exp":1e999}',
        b'{"patient_id":"p-1","exp":NaN}',
        b'{"patient_id":"p-1","exp":9999999999}\x00',
        b'{"patient_id":"p-1","exp":9999999999} trailing',
        b'{"patient_id":"p-1","exp":9999999999,"x":"\xff"}',
        '{"patient_id":"p-1","exp":9999999999}'.encode("utf-16-le"),
    ],
    ids=lambda payload: repr(payload[:40]),
)
async def test_payloads_that_are_no_claims_are_refused_with_the_right_key_too(service, caplog, payload):
    await refuse(service, hmac_token(SECRET.encode(), payload), caplog)


async def test_tokens_of_any_size(service, trusting, caplog):
    for size in (4000, MAX_FIELD_BYTES - 200):
        long = hmac_token(b"x" * 32, good_claims(x="y" * (size * 3 // 4 - 200)))
        await refuse(service, long, caplog)
        await refuse(trusting, long, caplog)
        await refuse(service, "x" * size, caplog)
    answer = await service.ask("GET", PATH, headers={"access-token": "x" * (MAX_FIELD_BYTES + 1)})
    assert answer.status == 431
    for control in (b"\x01", b"\x7f", b"\x0b"):
        request = b"GET %s HTTP/1.1\r\nHost: x\r\naccess-token: %s%s\r\n\r\n" % (PATH.encode(), b"abcdefgh", control)
        answer = await service.raw(request)
        assert answer.status in {400, 401}
        assert b"abcdefgh" not in answer.body


# --- where tokens come from ----------------------------------------------------------------------------------------


async def test_two_tokens_are_refused_wherever_they_stand(service):
    one, other = service.token("p-1"), service.token("p-2")
    for headers in (
        [("access-token", one), ("Authorization", f"Bearer {other}")],
        [("access-token", other), ("Authorization", f"Bearer {one}")],
        [("access-token", one), ("access-token", other)],
        [("access-token", one), ("Access-Token", "x")],
        [("Authorization", f"Bearer {one}"), ("Authorization", f"Bearer {other}")],
        [("Authorization", f"Bearer {one}"), ("Authorization", f"bearer {other}")],
        [("access-token", f"{one}, {other}")],
        [("access-token", f"{one},{one}")],
        [("Authorization", f"Bearer {one}, Bearer {other}")],
        [("Authorization", f"Bearer {one} {other}")],
        [("Authorization", f"Token {one}")],
        [("Authorization", f"Bearer{one}")],
        [("Authorization", f"Bearer\u00a0{one}")],
    ):
        assert (await service.ask("GET", PATH, headers=CIMultiDict(headers))).status == 401, headers


async def test_one_token_twice_is_one(service):
    token = service.token("p-1")
    headers = CIMultiDict([("access-token", token), ("access-token", token), ("Authorization", f"Bearer {token}")])
    assert (await service.ask("GET", PATH, headers=headers)).status == 200


@pytest.mark.parametrize(
    "name",
    [
        "Cookie",
        "X-Access-Token",
        "X-Auth-Token",
        "Proxy-Authorization",
        "X-Authorization",
        "access_token",
        "Token",
        "jwt",
    ],
)
async def test_other_headers_carry_no_token(service, name):
    token = service.token("p-1")
    for value in (token, f"Bearer {token}", f"access-token={token}; Access-Token={token}; access_token={token}"):
        answer = await service.ask("GET", PATH, headers={name: value})
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="dicom"')


async def test_a_query_or_a_body_carries_no_token(service):
    token = service.token("p-1")
    for name in ("access-token", "access_token", "token", "Authorization", "jwt"):
        assert (await service.ask("GET", f"{PATH}?{name}={token}")).status == 401
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        assert (await service.ask("POST", PATH, data=f"{name}={token}".encode(), headers=form)).status == 401
