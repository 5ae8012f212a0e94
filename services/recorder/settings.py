"""What the recorder reads from its environment, with bounds."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, SecretStr, field_validator

from services.recorder.access.oidc import OidcSettings
from services.recorder.access.session_ends import SessionLimits
from services.recorder.media.s3_access import S3Access, S3Settings, parse_s3
from services.recorder.record.migration_access import MigrationAccess
from services.recorder.record.retention import GB, RetentionLimits, RetentionRule
from shared.access import NetworkTrust, is_prefix
from shared.errors import ConfigError
from shared.permissions import Role
from shared.settings import ServiceSettings
from shared.urls import SecretUrl, with_password

_OWN_PATHS = (
    "api",
    "cameras",
    "events",
    "healthz",
    "login",
    "media",
    "metrics",
    "readyz",
    "users",
    "web",
    "whip",
)


class RecorderSettings(ServiceSettings):
    """DATABASE_URL, MEDIA_DIR, WEATHER_…; HTTP_PORT serves the page, the API and the media files."""

    has_users: ClassVar[bool] = True  # whether there are any is known once the database is open

    database_url: Annotated[
        SecretUrl,
        Field(
            description="mysql://user:password@host/database (for TLS with ?ssl_ca=FILE, the authorities that sign the "
            "server's certificate), mariadb://… or sqlite:///path/of/file.db"
        ),
    ] = SecretUrl("sqlite+aiosqlite:///data/clipwatch.db")
    database_password: Annotated[
        SecretStr, Field(description="password of DATABASE_URL, as it is, where the URL has none")
    ] = SecretStr("")
    migration_database_url: Annotated[
        SecretStr | None,
        Field(
            description="the same database with a user who may change tables, for the start alone; unset: the user of "
            "DATABASE_URL does it"
        ),
    ] = None
    migration_database_password: Annotated[
        SecretStr, Field(description="password of MIGRATION_DATABASE_URL, as it is, where the URL has none")
    ] = SecretStr("")
    dashboard_database_user: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9_-]{0,32}$",
            description="a user of MySQL or MariaDB who may read what dashboards show, and not users, sessions, tokens "
            "and links: granted at the start by the user of MIGRATION_DATABASE_URL; unset: nothing is granted",
        ),
    ] = ""
    media_dir: Annotated[Path, Field(description="folder of the clips and thumbnails")] = Path("data/media")
    media_url: Annotated[
        str,
        Field(
            max_length=1000,
            description="s3://bucket or s3://bucket/prefix: clips and thumbnails are kept in this bucket of an "
            "S3-compatible object store; unset: in MEDIA_DIR",
        ),
    ] = ""
    s3_endpoint_url: Annotated[
        str,
        Field(
            max_length=1000,
            description="the object store of MEDIA_URL, https://host:port; http:// sends clips unencrypted, for a "
            "network of your own; unset: Amazon S3 of S3_REGION",
        ),
    ] = ""
    s3_region: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9-]{1,64}$", description="region of the bucket; many stores take any"),
    ] = "us-east-1"
    s3_access_key_id: Annotated[
        SecretStr,
        Field(
            description="who may write, read, list and remove objects of the bucket; unset: the role of the machine or "
            "pod at Amazon"
        ),
    ] = SecretStr("")
    s3_secret_access_key: Annotated[SecretStr, Field(description="the key's secret")] = SecretStr("")
    s3_ca_file: Annotated[
        Path | None,
        Field(description="certificates that S3_ENDPOINT_URL may be signed by, beside the usual ones, PEM"),
    ] = None
    index_dir: Annotated[
        Path | None,
        Field(description="folder of the search's index, a cache; unset: .index in MEDIA_DIR"),
    ] = None
    batch_max: Annotated[int, Field(ge=1, le=128, description="messages taken from the queue at once")] = 16
    min_idle_s: Annotated[
        float, Field(ge=1, le=600, description="a dead replica's work is taken over after this long")
    ] = 15
    max_attempts: Annotated[
        int, Field(ge=1, le=100, description="deliveries of a message before it goes to the dead letters")
    ] = 5
    transaction_s: Annotated[
        float,
        Field(gt=0, le=120, description="a database that needs longer for one transaction counts as away"),
    ] = 30
    close_after_s: Annotated[
        float,
        Field(ge=5, le=86400, description="an open event without a new snippet is closed after this long"),
    ] = 60
    weather_provider: Literal["open_meteo", "openweather", "none"] = "open_meteo"
    openweather_key: Annotated[
        SecretStr | None, Field(description="key of WEATHER_PROVIDER=openweather; never logged")
    ] = None
    weather_url: Annotated[
        str | None,
        Field(
            pattern=r"^https?://",
            description="base address of the weather provider; unset: the provider's own",
        ),
    ] = None
    weather_timeout_s: Annotated[float, Field(gt=0, le=2, description="deadline of one weather request")] = 2
    weather_cache_s: Annotated[
        float, Field(ge=600, le=7200, description="a place's weather is asked for again after this long")
    ] = 900
    weather_max_age_h: Annotated[
        float, Field(gt=0, le=2160, description="events older than this get no weather any more")
    ] = 168
    retention_days: Annotated[
        float, Field(ge=0, le=36500, description="older events are removed; 0: none for their age")
    ] = 0
    retention_gb: Annotated[
        float, Field(ge=0, description="all clips together, 10^9 bytes; the oldest events go; 0: no limit")
    ] = 0
    retention_free_gb: Annotated[
        float,
        Field(ge=0, description="stays free on the clips' disk, 10^9 bytes; the oldest events go; 0: off"),
    ] = 0
    retention_rules: Annotated[
        tuple[RetentionRule, ...],
        Field(max_length=200, description='JSON: [{"camera": "gate", "label": "a dog", "days": 90}]'),
    ] = ()
    retention_keeps_judged: Annotated[
        bool,
        Field(
            description="events that a verdict learned from stay, however old; false: they go like all others"
        ),
    ] = True
    admin_password: Annotated[
        SecretStr | None,
        Field(description="password of the user 'admin', who is made at the start while there is no user"),
    ] = None
    local_token_file: Annotated[
        Path | None,
        Field(description="a token for this machine's command line is written here; unset: none is made"),
    ] = None
    oidc_issuer: Annotated[
        str,
        Field(
            pattern=r"^(https://.+|http://(127\.0\.0\.1|localhost)(:\d+)?(/.*)?)?$",
            max_length=500,
            description="OpenID provider by which users may log in too, https://…; empty: none",
        ),
    ] = ""
    oidc_client_id: Annotated[str, Field(max_length=500, description="clipwatch's name at the provider")] = (
        "clipwatch"
    )
    oidc_client_secret: Annotated[
        SecretStr | None, Field(description="its secret there; unset: a public client, PKCE only")
    ] = None
    oidc_role_claim: Annotated[
        str, Field(max_length=100, description="claim of the ID token that OIDC_ROLES are of, such as groups")
    ] = ""
    oidc_roles: Annotated[
        dict[str, Role],
        Field(max_length=100, description='JSON: {"value of the claim": "viewer, operator or admin"}'),
    ] = {}  # noqa: RUF012  # pydantic copies it
    oidc_usual_role: Annotated[
        Literal["viewer", "operator", "none"],
        Field(description="role of the provider's other users; none: they are refused"),
    ] = "viewer"
    session_idle_h: Annotated[
        float, Field(ge=0.1, le=8760, description="a login ends after this long without a request")
    ] = 168
    session_max_h: Annotated[
        float, Field(ge=0.1, le=8760, description="a login ends after this long at the latest")
    ] = 720
    notify_file: Annotated[
        Path | None, Field(description="who is told by MQTT or webhook, of what; unset: nobody")
    ] = None
    gap_after_s: Annotated[
        float,
        Field(
            ge=1,
            le=3600,
            description="a camera away, a service gone or a disk full for this long is a gap, and told",
        ),
    ] = 10
    classifier_start_s: Annotated[
        float,
        Field(
            ge=0,
            le=3600,
            description="for classifiers that are started when snippets wait, as KEDA does: none there is a fault only "
            "once a snippet has waited longer than this; 0: one is always to be there",
        ),
    ] = 0
    motion_url: Annotated[
        str | None,
        Field(
            max_length=8000,
            pattern=r"^ *https?://[^/?#@\s,]+/?( *, *https?://[^/?#@\s,]+/?)* *$",
            description="address of the motion service, such as http://motion:8080: the recorder passes its cameras "
            "and live pictures on; of several processes that share cameras all, separated by commas, each with its "
            "REACHED_AT; unset: none are there",
        ),
    ] = None
    motion_token: Annotated[
        SecretStr | None, Field(description="the API_TOKEN of the motion service at MOTION_URL")
    ] = None
    path_prefix: Annotated[
        str,
        Field(
            max_length=200,
            description="path under which a reverse proxy shows the page, such as /clipwatch, whether it takes it away "
            "or not; of one in TRUSTED_PROXIES X-Forwarded-Prefix does as well",
        ),
    ] = ""
    streams_max: Annotated[
        int, Field(ge=1, le=1000, description="pages that may follow the events at the same time")
    ] = 64

    @field_validator("path_prefix")
    @classmethod
    def _is_a_prefix(cls, text: str) -> str:
        path = text.rstrip("/")
        if path and (not is_prefix(path) or path.split("/")[1] in _OWN_PATHS):
            raise ValueError(
                f"wanted a path such as /clipwatch, none of the page's own: {', '.join(_OWN_PATHS)}"
            )
        return path

    @property
    def network_trust(self) -> NetworkTrust:
        return replace(super().network_trust, prefix=self.path_prefix)

    @property
    def weather_key(self) -> SecretStr | None:
        """The key if it is to be used; raises ConfigError when there is none."""
        if self.weather_provider != "openweather":
            return None
        if self.openweather_key is None:
            raise ConfigError(
                "OPENWEATHER_KEY: not set; set it, or choose WEATHER_PROVIDER=open_meteo or none"
            )
        return self.openweather_key

    @property
    def session_limits(self) -> SessionLimits:
        return SessionLimits(timedelta(hours=self.session_idle_h), timedelta(hours=self.session_max_h))

    @property
    def oidc(self) -> OidcSettings | None:
        """The provider by which users may log in; None: none."""
        if not self.oidc_issuer:
            return None
        secret = self.oidc_client_secret
        return OidcSettings(
            self.oidc_issuer,
            self.oidc_client_id,
            secret.get_secret_value() if secret else None,
            self.oidc_role_claim,
            self.oidc_roles,
            None if self.oidc_usual_role == "none" else Role(self.oidc_usual_role),
        )

    @property
    def database_address(self) -> str:
        """DATABASE_URL with DATABASE_PASSWORD in it: a secret."""
        return with_password(self.database_url.get_secret_value(), self.database_password.get_secret_value())

    @property
    def bucket(self) -> S3Access | None:
        """Where clips are kept; None: in MEDIA_DIR. Raises ConfigError with every fault."""
        if not self.media_url:
            return None
        faults: list[str] = []
        if self.retention_free_gb:
            faults.append(
                f"RETENTION_FREE_GB={self.retention_free_gb:g}: MEDIA_URL names a bucket, which has no free space to "
                "look at; set RETENTION_GB, and leave RETENTION_FREE_GB out"
            )
        keys = self.s3_access_key_id, self.s3_secret_access_key
        given = S3Settings(self.media_url, self.s3_endpoint_url, self.s3_region, *keys, self.s3_ca_file)
        try:
            access = parse_s3(given)
        except ConfigError as exc:
            raise ConfigError([*exc.faults, *faults]) from None
        if faults:
            raise ConfigError(faults)
        return access

    @property
    def migration(self) -> MigrationAccess | None:
        """Who changes tables at the start; None: the user of DATABASE_URL."""
        if self.migration_database_url is None:
            return None
        password = self.migration_database_password.get_secret_value()
        address = with_password(self.migration_database_url.get_secret_value(), password)
        return MigrationAccess(address, self.dashboard_database_user)

    @property
    def limits(self) -> RetentionLimits:
        size, free = int(self.retention_gb * GB), int(self.retention_free_gb * GB)
        return RetentionLimits(
            self.retention_days, size, free, self.retention_rules, self.retention_keeps_judged
        )
