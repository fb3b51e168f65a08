"""Settings: one frozen tree, read once, from defaults, `tickwire.toml` and `TICKWIRE_…` variables, in that order.

A name that sets nothing is refused, with the one that was probably meant.
"""

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from schemas.errors import SettingsError

PREFIX: Final = "TICKWIRE_"
DELIMITER: Final = "__"
FILE: Final = "tickwire.toml"


def _seconds(value: object) -> object:
    """A bare number is seconds, also where it comes as text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


Duration = Annotated[timedelta, BeforeValidator(_seconds)]


class Section(BaseModel):
    """A part of the tree."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class Kafka(Section):
    """The log. Without `bootstrap` an embedded broker is started."""

    bootstrap: str = ""
    partitions: int = Field(4, ge=1, le=1024)
    """Of every topic, when it is made; never grown in place."""
    replication: int = Field(1, ge=1)
    min_insync_replicas: int = Field(1, ge=1)
    retention: Duration | None = None
    """Of the events log, a sixth of it for what we write, when the topics are made; as the topics declare where not given.
    Two hours on the embedded broker, which writes its whole log anew every second or two."""
    security_protocol: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = "plaintext"
    sasl_mechanism: Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = ""
    username: str = ""
    password: SecretStr = SecretStr("")
    ca_file: str = ""
    port: int = Field(9092, ge=0, le=65535)
    """Wanted port of the embedded broker; another one if it is taken."""
    log_id: str = ""
    """For a broker without topic ids; Kafka's own where empty."""
    log_file: Path | None = None
    """Where the embedded broker's supervisor keeps the identities of its logs."""


class ClickHouse(Section):
    """The history. Without `url` the embedded engine is started."""

    url: SecretStr = SecretStr("")
    """`http://user:password@host:8123/` or `native://user:password@host:9000/`; with TLS `https://…?ca_file=PATH`, `natives://…`."""
    database: str = Field("tickwire", pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")
    compression: Literal["none", "lz4", "zstd"] = "none"
    timeout: Duration = timedelta(seconds=30)
    port: int = Field(8123, ge=0, le=65535)


class Redis(Section):
    """The newest rows. Without `url` an embedded Valkey is started."""

    url: SecretStr = SecretStr("")
    """`redis://user:password@host:6379/0`; with TLS `rediss://…?ssl_ca_certs=PATH`."""
    ttl: Duration = timedelta(days=1)
    port: int = Field(6379, ge=0, le=65535)


class Fold(Section):
    """What the fold says; a change starts with fresh state from the log."""

    lateness: Duration = timedelta(seconds=1)
    future: Duration = timedelta(seconds=5)
    horizon: Duration = timedelta(seconds=10)
    """Of the label that the online model learns from."""
    other_horizons: tuple[Duration, ...] = (timedelta(seconds=1), timedelta(seconds=60), timedelta(seconds=300))
    """Of the labels that are kept beside it."""
    dead_band_bps: float = Field(0.0, ge=0, lt=10_000)
    """Costs of a trade in hundredths of a percent: a smaller move is neither up nor down."""
    label_every: Duration = timedelta(seconds=1)
    learn_every: int = Field(256, ge=1)
    """Matured labels per learning step."""
    max_symbols: int = Field(2_000, ge=1)
    """Per partition."""
    champion: Literal["online", "onnx"] = "onnx"
    calendars: dict[str, str] = {"USA": "XNYS"}
    """Venue to exchange calendar; a venue that is not named trades around the clock."""
    epoch: Duration = timedelta(seconds=2)
    """How often state is committed; rows are stored every half second."""
    lease: Duration = timedelta(seconds=10)
    """How long a writer elsewhere may be silent before its partitions are taken over."""


class Audit(Section):
    """How the scoring process checks what it has stored."""

    every: Duration = timedelta(seconds=15)
    """How often rows are counted."""
    recent: Duration = timedelta(minutes=10)
    """Rows of so long ago are counted each time."""
    horizon: Duration = timedelta(hours=6)
    """Older ones in turn, until they are this old; `tickwire verify` looks at everything."""


class Models(Section):
    """Where models live and what runs them."""

    provider: Literal["cpu", "cuda"] = "cpu"
    seed: int = 0
    history: Duration = timedelta(minutes=36)
    """How much is folded before the first model is trained."""
    slowest_us: float = Field(1_000.0, gt=0)
    """Microseconds a row that a model may take; one that takes longer is quarantined."""
    shed_lag: int = Field(200_000, ge=1)
    """Records that may wait before challengers are retired, one after the other."""


class Nightly(Section):
    """When the nightly run is made, and of which trading day."""

    at: str = Field("", pattern=r"^(([01]\d|2[0-3]):[0-5]\d)?$")
    """Time of day, UTC, at which `tickwire up` starts it, for example 22:30; not at all where empty."""
    calendar: str = "24/7"
    """An exchange calendar such as XNYS, or 24/7 for UTC days."""
    settle: Duration = timedelta(minutes=15)
    """How long after the close records still count."""


class Registry(Section):
    """MLflow, for the batch side alone. Without `url` a SQLite file beside the models."""

    url: SecretStr = SecretStr("")
    """`https://user:password@host:5000/`."""
    timeout: Duration = timedelta(seconds=120)
    """How long one question may take; models in the cache score on."""


class Tokens(Section):
    """JWTs of an identity provider, beside API keys; none are taken without these."""

    issuer: str = ""
    audience: str = ""
    jwks_url: str = ""
    """Where the issuer's public keys are, such as `https://id.example.com/.well-known/jwks.json`."""
    ca_file: str = ""
    role_claim: str = "roles"
    """viewer, analyst, operator or admin, or a list that has one; `realm_access.roles` looks inside."""
    leeway: Duration = timedelta(seconds=60)


class Rates(Section):
    """How often one caller may ask, by kind of request; callers without a key are counted by address."""

    read: str = "1000/second"
    infer: str = "500/second"
    sql: str = "120/minute"
    write: str = "120/minute"
    message: str = "50/second"
    """Of a client of the feed."""
    refused: str = "30/minute"
    """Keys that were not good, by address; then 429, and the audit log tells of no more of them."""


class Api(Section):
    """REST, feed and metrics."""

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    origins: tuple[str, ...] = ()
    """Allowed beside loopback."""
    keys: Path | None = None
    """Where API keys are kept (their hashes); `access/keys.json` under the data directory where left out."""
    key: SecretStr = SecretStr("")
    """The key that `tickwire watch` and other commands show to the API; the dev key of a running `tickwire up` without it."""
    audit_key: SecretStr = SecretStr("")
    """Seals the lines of the audit log; whoever has it can check them, and nobody else can write one."""
    tokens: Tokens = Tokens()
    rates: Rates = Rates()
    namespace: str = Field("", pattern=r"^([a-z][a-z0-9_]{0,31})?$")
    """A replay that was made with --topics, to be served instead of live."""


class Source(Section):
    """What `tickwire up` listens to."""

    kind: Literal["auto", "sim", "coinbase", "none"] = "auto"
    products: tuple[str, ...] = ("BTC-USD", "ETH-USD", "SOL-USD")
    coinbase_ws: str = "wss://ws-feed.exchange.coinbase.com"
    coinbase_rest: str = "https://api.exchange.coinbase.com"
    sim_rate: float = Field(50.0, gt=0)
    """Simulated events per second."""
    sim_seed: int = 0


class Logging(Section):
    """What is told while running."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    json_lines: bool = False


class Settings(Section):
    """Everything that can be set."""

    data: Path = Path(".tickwire")
    """State of this installation: embedded services, recovery, models, logs."""
    start_within: Duration = timedelta(seconds=30)
    """How long a process waits at its start for Kafka and ClickHouse."""
    kafka: Kafka = Kafka()
    clickhouse: ClickHouse = ClickHouse()
    redis: Redis = Redis()
    fold: Fold = Fold()
    audit: Audit = Audit()
    models: Models = Models()
    nightly: Nightly = Nightly()
    registry: Registry = Registry()
    api: Api = Api()
    source: Source = Source()
    logging: Logging = Logging()


@dataclass(frozen=True)
class Line:
    """One setting as `tickwire settings` prints it."""

    variable: str
    value: str
    origin: str


def load(environment: Mapping[str, str] | None = None, file: Path | None = None) -> Settings:
    """The settings in force; raises `SettingsError` naming what is unknown or impossible."""
    return _validated(_gathered(environment, file)[0])


def explain(environment: Mapping[str, str] | None = None, file: Path | None = None) -> list[Line]:
    """Every variable, its value (secrets masked) and where it came from."""
    tree, origins = _gathered(environment, file)
    settings = _validated(tree)
    return [Line(name, _shown(value), origins.get(name, "default")) for name, value in _leaves(settings, PREFIX)]


def _gathered(environment: Mapping[str, str] | None, file: Path | None) -> tuple[dict[str, Any], dict[str, str]]:
    environment = os.environ if environment is None else environment
    chosen = file or Path(environment.get(f"{PREFIX}CONFIG", FILE))
    known = [name for name, _ in _leaves(Settings(), PREFIX)]
    tree: dict[str, Any] = {}
    origins: dict[str, str] = {}
    if chosen.exists():
        try:
            table = tomllib.loads(chosen.read_text())
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"{chosen}: expected TOML, {error}") from error
        for name, value in _flat(table, PREFIX, known):
            _put(tree, _checked(name, known, f"{chosen}: "), value)
            origins[name] = str(chosen)
    for name, value in environment.items():
        if name.startswith(PREFIX) and name not in {f"{PREFIX}CONFIG", f"{PREFIX}TEST_DATA"}:
            _put(tree, _checked(name, known, ""), value)
            origins[name] = "environment"
    return tree, origins


def _validated(tree: dict[str, Any]) -> Settings:
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        told = [
            f"{PREFIX}{DELIMITER.join(str(part).upper() for part in item['loc'])}: {item['msg']}, was {item['input']!r}"
            for item in error.errors()
        ]
        raise SettingsError("; ".join(told)) from error


def _checked(name: str, known: list[str], where: str) -> str:
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else "; `tickwire settings` lists all names"
    raise SettingsError(f"{where}{name} sets nothing{hint}")


def _put(tree: dict[str, Any], name: str, value: Any) -> None:
    *sections, leaf = name.removeprefix(PREFIX).lower().split(DELIMITER)
    for section in sections:
        tree = tree.setdefault(section, {})
    tree[leaf] = _parsed(value)


def _parsed(value: Any) -> Any:
    """Lists and tables are written as JSON; durations as seconds or ISO 8601."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text[:1] in {"{", "["}:
        import json  # noqa: PLC0415

        return json.loads(text)
    return text


def _flat(table: Mapping[str, Any], prefix: str, known: list[str]) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        name = f"{prefix}{key.upper()}"
        if isinstance(value, dict) and name not in known:
            yield from _flat(value, name + DELIMITER, known)
        else:
            yield name, value


def _leaves(section: BaseModel, prefix: str) -> Iterator[tuple[str, Any]]:
    for key in type(section).model_fields:
        value = getattr(section, key)
        if isinstance(value, BaseModel):
            yield from _leaves(value, f"{prefix}{key.upper()}{DELIMITER}")
        else:
            yield f"{prefix}{key.upper()}", value


def _shown(value: Any) -> str:
    if isinstance(value, SecretStr):
        return "********" if value.get_secret_value() else ""
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}s"
    return "" if value is None else str(value)
