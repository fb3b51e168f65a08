"""Tokens of an identity provider: which are taken, the many that are not, and how often its keys are asked for."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from infra.access import issuer_keys
from infra.access.issuer_keys import IssuerKeys
from infra.access.tokens import TokenReader, token_reader
from infra.settings import Tokens
from schemas.errors import SettingsError

DAY = 86_400
"""Tokens are made when tests are collected."""
ISSUER, AUDIENCE = "https://id.example.com/", "tickwire"
OURS = rsa.generate_private_key(public_exponent=65537, key_size=2048)
THEIRS = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CURVE = ec.generate_private_key(ec.SECP256R1())
PUBLIC_PEM = OURS.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def jwk(key: Any, key_id: str, algorithm: str) -> dict[str, Any]:
    maker = jwt.algorithms.RSAAlgorithm if algorithm.startswith("RS") else jwt.algorithms.ECAlgorithm
    return {**json.loads(maker.to_jwk(key.public_key())), "kid": key_id, "alg": algorithm, "use": "sig"}  # type: ignore[attr-defined]


class Provider:
    """An identity provider's JWKS address on loopback."""

    def __init__(self) -> None:
        self.document: Any = {
            "keys": [
                jwk(OURS, "rsa", "RS256"), jwk(CURVE, "ec", "ES256"), jwk(OURS, "strong", "RS512"),
                {"kty": "oct", "kid": "shared", "alg": "HS256", "k": base64.urlsafe_b64encode(b"s" * 32).decode()},
            ]
        }  # fmt: skip
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps(provider.document).encode()
                self.send_response(200 if provider.document else 503)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/jwks.json"


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    found = Provider()
    thread = threading.Thread(target=found.server.serve_forever)
    thread.start()
    yield found
    found.server.shutdown()
    found.server.server_close()
    thread.join()


@pytest.fixture
def reader(provider: Provider) -> TokenReader:
    found = token_reader(Tokens(issuer=ISSUER, audience=AUDIENCE, jwks_url=provider.url))
    assert found is not None
    return found


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    told = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "iat": now, "exp": now + DAY, "roles": ["analyst"]} | changes
    return {name: value for name, value in told.items() if value is not None}


def signed(key: Any = OURS, algorithm: str = "RS256", key_id: str | None = "rsa", **changes: Any) -> str:
    headers = {"kid": key_id} if key_id is not None else {}
    return jwt.encode(claims(**changes), key, algorithm, headers)


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def with_header(**more: Any) -> str:
    return jwt.encode(claims(), OURS, "RS256", {"kid": "rsa", **more})


def hmac_with_the_public_key() -> str:
    """The classic confusion: a public key is no secret. PyJWT refuses to make it, so it is made by hand."""
    import hashlib  # noqa: PLC0415
    import hmac  # noqa: PLC0415

    head = f"{part({'alg': 'HS256', 'typ': 'JWT', 'kid': 'rsa'})}.{part(claims())}"
    mac = hmac.new(PUBLIC_PEM, head.encode(), hashlib.sha256).digest()
    return f"{head}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def altered() -> str:
    head, _, mac = signed().split(".")
    return f"{head}.{part(claims(roles=['admin']))}.{mac}"


NOW = int(time.time())
BAD = {
    "no signature, alg none": f"{part({'alg': 'none', 'typ': 'JWT', 'kid': 'rsa'})}.{part(claims())}.",
    "HMAC with the public key": hmac_with_the_public_key(),
    "HMAC with a symmetric key of the JWKS": signed(b"s" * 32, "HS256", "shared"),
    "another issuer": signed(iss="https://evil.example.com/"),
    "another audience": signed(aud="somebody-else"),
    "over": signed(iat=NOW - 400, exp=NOW - 100),
    "not yet": signed(nbf=NOW + DAY // 2),
    "made in the future": signed(iat=NOW + DAY // 2),
    "a stranger's signature under a known key id": signed(THEIRS),
    "an unknown key id": signed(THEIRS, key_id="theirs"),
    "no key id": signed(key_id=None),
    "altered after it was signed": altered(),
    "signature cut off": signed().rpartition(".")[0] + ".",
    "without an end": signed(exp=None),
    "without an audience": signed(aud=None),
    "without a subject": signed(sub=None),
    "without a role": signed(roles=None),
    "a role that is not ours": signed(roles=["root"]),
    "its own key in the header": jwt.encode(claims(), THEIRS, "RS256", {"kid": "rsa", "jwk": jwk(THEIRS, "rsa", "RS256")}),
    "an address of keys in the header": with_header(jku="https://evil.example.com/jwks.json"),
    "an extension that must be understood": with_header(crit=["exp"]),
    "an algorithm that was not agreed on": signed(algorithm="RS512", key_id="strong"),
    "an EC key's id over an RSA signature": signed(key_id="ec"),
    "not a token": "hello",
    "three empty parts": "..",
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_token_is_nobody_s(reader: TokenReader, name: str) -> None:
    assert reader.identify(BAD[name]) is None


def by_hand(header: dict[str, Any], told: dict[str, Any]) -> str:
    """PyJWT makes no token of wrong types."""
    said = f"{part(header)}.{part(told)}"
    mac = OURS.sign(said.encode(), PKCS1v15(), SHA256())
    return f"{said}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


STRANGE: tuple[Any, ...] = ([], {}, [[]], 7, -1.5, True, 10**400, float("inf"), float("nan"), "", "\ud800")


@pytest.mark.parametrize("name", ["typ", "alg", "kid"])
def test_a_token_whose_header_has_other_types_is_nobody_s(reader: TokenReader, name: str) -> None:
    header = {"alg": "RS256", "typ": "JWT", "kid": "rsa"}
    assert reader.identify(by_hand(header, claims())) is not None
    for value in STRANGE:
        assert reader.identify(by_hand({**header, name: value}, claims())) is None, value


@pytest.mark.parametrize("name", ["exp", "iat", "nbf", "iss", "aud", "sub", "roles"])
def test_claims_of_other_types_end_nothing_but_the_token(reader: TokenReader, name: str) -> None:
    for value in STRANGE:
        token = by_hand({"alg": "RS256", "kid": "rsa"}, {**claims(), name: value})
        found = reader.identify(token)
        assert found is None or name in ("exp", "iat", "nbf", "sub"), value  # of these some are good
        if found is not None:
            reader.holds(token)


@pytest.mark.parametrize(
    ("token", "role"),
    [
        (signed(), "analyst"),
        (signed(CURVE, "ES256", "ec"), "analyst"),
        (signed(aud=["another", AUDIENCE]), "analyst"),
        (signed(roles="viewer"), "viewer"),
        (signed(roles=["viewer", "root", "operator"]), "operator"),
    ],
)
def test_a_good_token_is_somebody_s(reader: TokenReader, token: str, role: str) -> None:
    principal = reader.identify(token)
    assert principal is not None
    assert (principal.name, principal.role) == ("token ada", role)


def test_two_long_subjects_are_two_callers(reader: TokenReader) -> None:
    found = [
        reader.identify(signed(sub=f"https://login.example.com/{'a' * 80}/{who}")) for who in ("ada", "eve", "ada")
    ]
    names = [one.name for one in found if one is not None]
    assert names[0] == names[2] != names[1]
    assert [len(name) for name in names] == [len("token ") + 64] * 3
    assert all(name.startswith("token https://login.example.com/aaa") for name in names)
    exact = reader.identify(signed(sub="b" * 64))
    assert exact is not None
    assert exact.name == f"token {'b' * 64}"


def test_clocks_may_differ_by_a_minute(reader: TokenReader) -> None:
    now = int(time.time())
    assert reader.identify(signed(iat=now - 400, exp=now - 5)) is not None
    assert reader.identify(signed(nbf=now + 50)) is not None
    assert reader.identify(signed(iat=now - 400, exp=now - 70)) is None
    assert reader.identify(signed(nbf=now + 3_600)) is None


def test_the_role_may_lie_deeper(provider: Provider) -> None:
    found = token_reader(
        Tokens(issuer=ISSUER, audience=AUDIENCE, jwks_url=provider.url, role_claim="realm_access.roles")
    )
    assert found is not None
    principal = found.identify(signed(realm_access={"roles": ["admin"]}))
    assert principal is not None
    assert principal.role == "admin"
    assert found.identify(signed()) is None


def test_an_open_connection_ends_with_its_token(reader: TokenReader) -> None:
    assert reader.holds(signed())
    assert not reader.holds(signed(iat=NOW - 400, exp=NOW - 100))


def test_made_up_key_ids_make_us_ask_the_issuer_once_and_a_new_key_is_found_later(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = IssuerKeys(provider.url)
    assert keys.get("rsa") is not None
    for number in range(100):
        assert keys.get(f"made up {number}") is None
    assert keys.fetches == 1
    monkeypatch.setattr(provider, "document", {"keys": [jwk(THEIRS, "new", "RS256")]})
    assert keys.get("new") is None
    monkeypatch.setattr(issuer_keys, "RETRY_S", 0.0)
    assert keys.get("new") is not None
    assert keys.get("rsa") is None


@pytest.mark.parametrize(
    "document", [None, {"keys": []}, [], {"keys": ["x"]}, {"keys": [{"kty": "RSA"}]}, "x" * 300_000]
)
def test_an_issuer_that_is_down_or_says_nonsense_takes_nothing_away_for_a_while(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, document: Any
) -> None:
    monkeypatch.setattr(issuer_keys, "RETRY_S", 0.0)
    keys = IssuerKeys(provider.url)
    assert keys.get("rsa") is not None
    monkeypatch.setattr(provider, "document", document)
    assert keys.get("unknown") is None
    assert keys.get("rsa") is not None
    monkeypatch.setattr(issuer_keys, "STALE_S", 0.0)
    assert keys.get("rsa") is None


@pytest.mark.parametrize(
    "given",
    [
        {"issuer": ISSUER},
        {"issuer": ISSUER, "audience": AUDIENCE},
        {"issuer": ISSUER, "audience": AUDIENCE, "jwks_url": "http://id.example.com/jwks.json"},
    ],
)
def test_half_a_configuration_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="TICKWIRE_API__TOKENS__"):
        token_reader(Tokens(**given))
