"""Settings: one frozen tree of everything that can be set; `infra.configured` reads it."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from infra.hooks.retries import SCHEDULE_S
from infra.redis_url import RedisUrl


def _seconds(value: object) -> object:
    """A bare number is seconds, also where it comes as text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


Duration = Annotated[timedelta, Field(gt=timedelta(0)), BeforeValidator(_seconds)]
Pause = Annotated[timedelta, Field(ge=timedelta(0)), BeforeValidator(_seconds)]
"""A duration that may be nothing at all."""


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
    compression: Literal["none", "lz4"] = "none"
    timeout: Duration = timedelta(seconds=30)
    port: int = Field(8123, ge=0, le=65535)


class Redis(Section):
    """The newest rows. Without `url` an embedded Valkey is started."""

    url: RedisUrl = SecretStr("")
    """`redis://user:password@host:6379/0`; with TLS `rediss://…?ssl_ca_certs=PATH`."""
    ttl: Duration = timedelta(days=1)
    port: int = Field(6379, ge=0, le=65535)


class Fold(Section):
    """What the fold says; a change starts with fresh state from the log."""

    lateness: Pause = timedelta(seconds=1)
    future: Pause = timedelta(seconds=5)
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
    """How often state is committed; rows are stored every half second, few rows of a table within two."""
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
    history: Pause = timedelta(minutes=36)
    """How much is folded before the first model is trained."""
    slowest_us: float = Field(1_000.0, gt=0)
    """Microseconds a row that a model may take; one that takes longer is quarantined."""
    shed_lag: int = Field(200_000, ge=1)
    """Records that may wait before challengers are retired, one after the other."""
    triton_url: SecretStr = SecretStr("")
    """`http://HOST:8000` of a Triton server: `tickwire models challenge triton.ID` lets it score in the shadow."""
    triton_timeout: Duration = timedelta(milliseconds=500)
    """How long the server may take for one answer of at most 1,024 rows."""
    groups: dict[str, tuple[str, ...]] = {}
    """Symbols that the scoreboard judges together, by the group's name: {"majors": ["BTC-USD", "ETH-USD"]}."""


class Nightly(Section):
    """When the nightly run is made, and of which trading day."""

    at: str = Field("", pattern=r"^(([01]\d|2[0-3]):[0-5]\d)?$")
    """Time of day, UTC, at which `tickwire up` starts it, for example 22:30; not at all where empty."""
    calendar: str = "24/7"
    """An exchange calendar such as XNYS, or 24/7 for UTC days."""
    settle: Pause = timedelta(minutes=15)
    """How long after the close records still count."""


class Drift(Section):
    """Watching the model that serves, and what follows from it."""

    watch: bool = True
    """Whether `tickwire up` watches."""
    window: Duration = Field(timedelta(minutes=15), ge=timedelta(minutes=1))
    """Of event time, of references that are made from now on; one needs 12 of them."""
    false_alarms_per_day: float = Field(0.05, gt=0, lt=1)
    """Probability of any alarm on a day on which nothing drifts, whatever the window."""
    retrain: bool = True
    """Whether drift has a challenger trained."""
    train_on: Duration = timedelta(hours=2)
    """Of the log, from where the drift was noticed: so long a training waits, and on nothing older is trained."""
    promotion: Literal["person", "verdict"] = "person"
    """Who makes a challenger that has won the champion."""


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
    leeway: Pause = timedelta(seconds=60)


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

    @property
    def address(self) -> str:
        """Host and port as URLs have them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Sql(Section):
    """`/v1/sql`."""

    url: SecretStr = SecretStr("")
    """`http://user:password@host:8123/` of a server's read-only user (infra/sql/reader.sql); without it SQL is served of the
    embedded engine alone."""
    free: bool = False
    """Whether users may send SELECTs of their own; there are only the named queries otherwise."""
    timeout: Duration = Field(timedelta(seconds=5), ge=timedelta(seconds=1))
    memory_mib: int = Field(256, ge=1)
    """Of one query."""
    read_rows: int = Field(100_000_000, ge=1)
    """Rows that one query may read."""
    read_mib: int = Field(8_192, ge=1)
    max_rows: int = Field(10_000, ge=1, le=1_000_000)
    """Of one answer."""


class Hooks(Section):
    """Where alerts may be delivered to, and how. Endpoints themselves: `tickwire hooks`."""

    ports: tuple[int, ...] = (443, 8443)
    http: bool = False
    """Also without TLS."""
    loopback: bool = False
    """Also to this machine, there without TLS and at any port: for tests and `tickwire hooks listen`."""
    ca_file: str = ""
    """Certificates to trust instead of the system's."""
    timeout: Duration = timedelta(seconds=15)
    """Of one attempt."""
    retries: tuple[Pause, ...] = tuple(timedelta(seconds=pause) for pause in SCHEDULE_S)
    """Pauses after the first attempt, the second and so on; then it is a dead letter."""
    disable_after: Pause = timedelta(days=5)
    """Of failures without a success."""
    smtp_url: SecretStr = SecretStr("")
    """`smtp://user:password@host:587` with STARTTLS, or `smtps://…`; mail is off where empty."""
    mail_from: str = ""
    aws_region: str = ""
    """Of SES and SNS; they are off where empty, SES also without `mail_from`. boto3 finds the credentials."""
    aws_endpoint: str = ""
    """Another address than Amazon's own."""


class Source(Section):
    """What `tickwire up` listens to."""

    kind: Literal["auto", "sim", "coinbase", "none"] = "auto"
    products: tuple[str, ...] = ("BTC-USD", "ETH-USD", "SOL-USD")
    coinbase_ws: str = "wss://ws-feed.exchange.coinbase.com"
    coinbase_rest: str = "https://api.exchange.coinbase.com"
    sim_rate: float = Field(50.0, gt=0)
    """Simulated events per second."""
    sim_seed: int = Field(0, ge=0)


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
    drift: Drift = Drift()
    registry: Registry = Registry()
    api: Api = Api()
    sql: Sql = Sql()
    hooks: Hooks = Hooks()
    source: Source = Source()
    logging: Logging = Logging()
