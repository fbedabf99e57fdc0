"""JWK Sets: which keys are used, for which algorithms, and which are passed over."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448
from jwt.algorithms import ECAlgorithm, OKPAlgorithm

from service.auth.keys import MAX_KEYS, UnusableKeys, read_key_set, shared_secret
from tests.auth.issuer import KINDS, SigningKey, as_set, make_private


@pytest.mark.parametrize("kind", KINDS)
def test_the_algorithms_follow_from_the_key(issuer, kind):
    key = issuer.keys[kind]
    read = read_key_set(as_set(key)).keys[0]
    expected = {"R": ("RS256", "RS384", "RS512", "PS256"), "P": ("RS256", "RS384", "RS512", "PS256")}
    assert read.algorithms == expected.get(kind[0], (kind,))
    assert read.kid == key.kid


def test_alg_leaves_one_algorithm_only(issuer):
    key = issuer.keys["PS256"]
    assert read_key_set(as_set({**key.jwk, "alg": "PS256"})).keys[0].algorithms == ("PS256",)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"use": "enc"}, "signatures"),
        ({"use": 7}, "signatures"),
        ({"key_ops": ["sign"]}, "verifying"),
        ({"key_ops": "verify"}, "verifying"),
        ({"key_ops": []}, "verifying"),
        ({"alg": "HS256"}, "alg"),
        ({"alg": "none"}, "alg"),
        ({"alg": "RSA-OAEP"}, "alg"),
        ({"alg": "ES256"}, "alg"),
        ({"alg": ["RS256"]}, "alg"),
        ({"d": "AQAB"}, "private"),
        ({"kty": "oct"}, "symmetric"),
        ({"kty": "RSA1"}, "type"),
        ({"kty": None}, "type"),
        ({"kty": ["RSA"]}, "type"),
        ({"kid": 7}, "kid"),
        ({"n": None}, "lacks"),
        ({"n": 7}, "lacks"),
        ({"n": "é"}, "valid"),
        ({"n": ""}, "valid"),
        ({"e": "AQ"}, "valid"),
        ({"e": ""}, "valid"),
    ],
)
def test_an_rsa_key_that_cannot_be_used_is_passed_over_with_a_reason(issuer, change, reason):
    good, bad = issuer.keys["ES256"], {**issuer.keys["RS256"].jwk, **change}
    keys = read_key_set(as_set(bad, good))
    assert [key.kid for key in keys.keys] == [good.kid]
    assert len(keys.ignored) == 1
    assert reason in keys.ignored[0]
    with pytest.raises(UnusableKeys, match=reason):
        read_key_set(as_set(bad))


def test_a_short_rsa_key_is_passed_over():
    with pytest.raises(UnusableKeys, match="2048"):
        read_key_set(as_set(SigningKey("RS256", "short", make_private("RS256", 1024))))


@pytest.mark.parametrize(
    "jwk",
    [
        ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP521R1()).public_key(), as_dict=True),
        ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256K1()).public_key(), as_dict=True),
        OKPAlgorithm.to_jwk(ed448.Ed448PrivateKey.generate().public_key(), as_dict=True),
        {"kty": "OKP", "crv": "X25519", "x": "A" * 43},
        {"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43},
        {"kty": "EC", "crv": "P-256", "x": "A" * 42 + "E", "y": "A" * 42 + "E"},
        {"kty": "EC", "crv": "P-384", "x": "A" * 43, "y": "A" * 43},
        {"kty": "EC", "crv": ["P-256"], "x": "A" * 43, "y": "A" * 43},
        {"kty": "OKP", "crv": "Ed25519", "x": "AAAA"},
        {"kty": "OKP", "crv": "Ed25519"},
        {"kty": "oct", "k": "A" * 43},
        {"kty": "oct", "k": "A" * 43, "alg": "HS256", "use": "sig"},
        {},
        [],
        None,
        "key",
        7,
    ],
)
def test_other_keys_are_passed_over(issuer, jwk):
    assert len(read_key_set(as_set(jwk, issuer.keys["EdDSA"])).keys) == 1
    with pytest.raises(UnusableKeys):
        read_key_set(as_set(jwk))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"7",
        b"{}",
        b'{"keys": []}',
        b'{"keys": {}}',
        b'{"keys": null}',
        b'{"kty": "RSA"}',
        b"[" * 100_000,
        b'{"keys": ' + b"[" * 100_000,
        b'{"keys": [' + b"9" * 5000 + b"]}",
        b"<html>not found</html>",
        b"-----BEGIN PUBLIC KEY-----\n",
    ],
)
def test_what_is_no_key_set_is_refused_in_a_sentence(text):
    with pytest.raises(UnusableKeys) as refusal:
        read_key_set(text)
    assert str(refusal.value).endswith(".")


def test_a_set_is_looked_at_up_to_a_bound_and_a_key_that_stands_twice_is_one(issuer):
    key = issuer.keys["ES256"]
    keys = read_key_set(as_set(*[key] * (MAX_KEYS + 1)))
    assert len(keys.keys) == 1
    assert keys.find("k-ES256", "ES256") is keys.keys[0]
    assert "first" in keys.ignored[0]


def test_the_version_changes_with_the_keys_and_with_nothing_else(issuer):
    rsa, curve = issuer.keys["RS256"], issuer.keys["ES256"]
    version = read_key_set(as_set(rsa, curve)).version
    assert read_key_set(as_set(curve, {**rsa.jwk, "x5t": "abc", "use": "sig"})).version == version
    for others in (
        as_set(rsa),
        as_set(rsa, SigningKey("ES256", curve.kid)),
        as_set(rsa, {**curve.jwk, "kid": "b"}),
        as_set({**rsa.jwk, "alg": "RS256"}, curve),
    ):
        assert read_key_set(others).version != version


# --- which key is meant --------------------------------------------------------------------------------------------


def test_a_token_names_its_key_and_the_key_its_algorithms(issuer):
    keys = read_key_set(issuer.key_set())
    for kind in KINDS:
        assert keys.find(f"k-{kind}", kind).kid == f"k-{kind}"
    for kid, algorithm in (
        ("k-ES256", "ES384"),
        ("k-ES256", "EdDSA"),
        ("k-RS256", "HS256"),
        ("k-RS256", "none"),
        ("k-RS256", None),
        ("k-RS256", ["RS256"]),
        ("K-ES256", "ES256"),
        ("", "ES256"),
    ):
        assert keys.find(kid, algorithm) is None


def test_without_a_name_exactly_one_key_may_fit(issuer):
    keys = read_key_set(issuer.key_set())
    assert keys.find(None, "ES256").kid == "k-ES256"
    assert keys.find(None, "EdDSA").kid == "k-EdDSA"
    assert keys.find(None, "RS256") is None  # the set has four RSA keys


def test_a_key_without_a_name_is_meant_by_any_name_that_no_other_key_has():
    nameless, named = SigningKey("ES256", None), SigningKey("ES256", "a")
    keys = read_key_set(as_set(nameless, named))
    assert keys.find("a", "ES256").kid == "a"
    assert keys.find("b", "ES256").kid is None
    assert keys.find(None, "ES256") is None


def test_two_keys_of_one_name_are_told_apart_by_their_algorithms_or_not_at_all(issuer):
    curve, rsa = ({**issuer.keys[kind].jwk, "kid": "same"} for kind in ("ES256", "RS256"))
    keys = read_key_set(as_set(curve, rsa))
    assert keys.find("same", "ES256").algorithms == ("ES256",)
    assert "RS256" in keys.find("same", "RS256").algorithms
    other = SigningKey("ES256", "same")
    assert read_key_set(as_set(curve, other)).find("same", "ES256") is None


# --- secrets -------------------------------------------------------------------------------------------------------


def test_a_short_secret_is_refused():
    with pytest.raises(UnusableKeys, match="32 bytes"):
        shared_secret("s" * 31)
    assert shared_secret("é" * 16).find(None, "HS256") is not None


def test_a_public_key_is_no_secret(issuer):
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = issuer.keys["RS256"].private.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    for text in (pem, json.dumps(issuer.keys["RS256"].jwk), issuer.key_set().decode()):
        with pytest.raises(UnusableKeys, match="JWT_JWKS"):
            shared_secret(text)


def test_of_secrets_too_exactly_one_fits_and_its_name_is_not_asked_for():
    keys = shared_secret("s" * 32)
    assert keys.find("any", "HS256") is keys.find(None, "HS256") is keys.keys[0]
    assert keys.find(None, "HS512") is None
