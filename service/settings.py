"""What an operator can set, with every default and unit; nothing else in the service reads the environment.

One table serves three ends: the fields of `Settings` carry their help, their flag and their environment variable, so
that the command line, the environment and the documentation cannot disagree.
"""

# ruff: noqa: RUF009 - `_setting` calls `field`, which the rule does not see

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

MIB = 1 << 20
GIB = 1 << 30

MIN_SECRET_BYTES = 32
MAX_SECRET_BYTES = 1 << 16
"""Of a file that holds a secret."""
MAX_WHOLE = 2**53
MAX_SECONDS = 1_000_000_000
MAX_DAYS = (2**31 - 1) // 86_400
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
LOG_FORMATS = ("json", "text")


class SettingsError(ValueError):
    """The service cannot start with what is set; the text is a sentence for the operator."""


def _flag(text: str) -> bool:
    lowered = text.strip().lower()
    if lowered in {"1", "true", "yes", "on"}:
        return True
    if lowered in {"", "0", "false", "no", "off"}:
        return False
    raise ValueError("is neither true nor false")


def _whole(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError("is negative")
    if value > MAX_WHOLE:
        raise ValueError(f"is over {MAX_WHOLE}")
    return value


def _positive(text: str) -> int:
    value = _whole(text)
    if value < 1:
        raise ValueError("is not a positive whole number")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= MAX_SECONDS:
        raise ValueError(f"is not a number of seconds above 0 and up to {MAX_SECONDS}")
    return value


def _lifetime(text: str) -> int:
    value = _positive(text)
    if value > MAX_SECONDS:
        raise ValueError(f"is over {MAX_SECONDS} seconds")
    return value


def _days(text: str) -> int:
    value = _positive(text)
    if value > MAX_DAYS:
        raise ValueError(f"is over {MAX_DAYS} days, which is the most that MongoDB takes")
    return value


def _database(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,63}", text):
        raise ValueError("is not a name of 1 to 63 letters, digits, hyphens and underscores")
    return text


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65535:
        raise ValueError("is not a port (0 to 65535)")
    return value


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(part.strip().rstrip("/") for part in text.split(",") if part.strip())
    if not all(re.fullmatch(r"https?://[^/\s*]+", origin) for origin in origins):
        raise ValueError("is not a list of origins such as https://viewer.example")
    return origins


def _public(text: str) -> str:
    if not re.fullmatch(r"https?://[^/\s?#@*]+(/[!-~]*)?", text) or re.search(r"[?#<>\"\\]", text):
        raise ValueError("is not an address such as https://images.example/store")
    return text.rstrip("/")


def _jwks(text: str) -> str:
    if "://" not in text:
        return text
    try:
        address = urlsplit(text)
        host, _ = address.hostname or "", address.port
    except ValueError:
        host = ""
    if not host or not re.fullmatch(r"[!-~]+", text):
        raise ValueError("is neither a file nor an address")
    if address.username is not None or address.password is not None:
        raise ValueError("has a user or a password in it, which a log or a list of processes would show")
    if address.scheme != "https" and not (address.scheme == "http" and is_loopback(host)):
        raise ValueError("is not an https address; http is for loopback addresses only")
    return text


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine for sure: an address of the loopback network, or ``localhost``.

    Parameters
    ----------
    host : str
        An address or a name. What another name resolves to is not looked up.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower() == "localhost"
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _level(text: str) -> str:
    if text.upper() not in LOG_LEVELS:
        raise ValueError(f"is not one of {', '.join(LOG_LEVELS)}")
    return text.upper()


def _setting(default: Any, text: str, *, parse: Callable[[str], Any] = str, flag: bool = True) -> Any:
    """Declare a setting: its default, what it means, how its text is read, and whether it has a flag.

    What is secret has none: a command line can be read by every user of the machine.
    """
    return field(default=default, repr=flag, metadata={"help": text, "parse": parse, "flag": flag})


def _log_format(text: str) -> str:
    if text.lower() not in LOG_FORMATS:
        raise ValueError(f"is not one of {', '.join(LOG_FORMATS)}")
    return text.lower()


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set, read once at the start and handed down."""

    host: str = _setting("127.0.0.1", "address to listen on; dev mode takes a loopback address only")
    port: int = _setting(8000, "TCP port to listen on; 0 takes a free one", parse=_port)
    workers: int = _setting(1, "service processes that answer on the one port", parse=_positive)
    data_dir: Path = _setting(
        Path("data"), "where the local database, the dev secret, spool files and near originals are kept", parse=Path
    )
    spool_dir: Path = _setting(
        Path("data/spool"),
        "where uploads over 1 MiB stand while they arrive; unset: 'spool' in the data directory",
        parse=Path,
    )
    dev_mode: bool = _setting(False, "give tokens to whoever asks, on a loopback address", parse=_flag)

    mongodb_uri: str | None = _setting(
        None, "the MongoDB to use; unset: a local database is started under the data directory", flag=False
    )
    mongodb_database: str = _setting("dicom", "name of the database in that MongoDB", parse=_database)

    jwt_secret: str | None = _setting(
        None,
        "HS256 secret that tokens are signed with, at least 32 bytes; dev mode makes one where it is unset",
        flag=False,
    )
    jwt_jwks: str | None = _setting(
        None, "file or https URL of the JWK Set that tokens are verified with, in the place of a secret", parse=_jwks
    )
    jwt_jwks_refresh: float = _setting(
        300.0,
        "seconds after which the JWK Set is fetched again; a removed key works no longer than that",
        parse=_seconds,
    )
    jwt_jwks_keep: float = _setting(
        3600.0,
        "seconds for which the last JWK Set is used where it cannot be fetched; at least twice JWT_JWKS_REFRESH",
        parse=_seconds,
    )
    jwt_issuer: str | None = _setting(None, "the 'iss' that tokens must have; unset: not checked")
    jwt_audience: str | None = _setting(None, "the 'aud' that tokens must have; unset: not checked")
    jwt_max_lifetime: int = _setting(
        365 * 86_400,
        "seconds ahead at which a token may expire at most; one that expires later is refused",
        parse=_lifetime,
    )
    token_lifetime: int = _setting(3600, "seconds for which a token of the dev route is good", parse=_lifetime)

    public_url: str | None = _setting(
        None,
        "address at which callers reach the service, with the path below which a proxy has it; links begin with it; "
        "unset: the request's own host",
        parse=_public,
    )
    cors_origins: tuple[str, ...] = _setting(
        (), "origins whose pages may use the service, such as https://viewer.example, with commas", parse=_origins
    )

    max_share_seconds: int = _setting(
        90 * 86_400, "seconds after which the link of a share ends at the latest", parse=_lifetime
    )

    max_upload_bytes: int = _setting(
        2 * GIB, "the largest upload in bytes, and with it the largest file", parse=_positive
    )
    max_store_bytes: int = _setting(64 * GIB, "the largest body of a DICOMweb store request, in bytes", parse=_positive)
    max_store_parts: int = _setting(10_000, "the most files in one DICOMweb store request", parse=_positive)
    max_zip_members: int = _setting(50_000, "the most members of one ZIP that is uploaded", parse=_positive)
    max_zip_seconds: float = _setting(
        21_600.0, "seconds that one ZIP may take, from its first byte to its last line", parse=_seconds
    )
    body_timeout: float = _setting(30.0, "seconds without a byte after which an upload is given up", parse=_seconds)
    answer_timeout: float = _setting(
        30.0, "seconds in which a caller takes nothing of an answer, after which it is given up", parse=_seconds
    )
    min_rate: int = _setting(
        1024, "bytes a second under which an upload or an answer counts as stalled", parse=_positive
    )
    header_timeout: float = _setting(15.0, "seconds that a request's line and headers may take", parse=_seconds)
    keepalive_timeout: float = _setting(75.0, "seconds for which an idle connection is kept", parse=_seconds)
    max_connections: int = _setting(
        1000,
        "connections at once; one more closes the one that was idle longest, or is refused with 503",
        parse=_positive,
    )
    max_uploads: int = _setting(128, "uploads at once; more are refused with 503", parse=_positive)
    max_uploads_per_patient: int = _setting(
        16, "uploads of one patient at once; more are refused with 429", parse=_positive
    )
    max_requests: int = _setting(
        512, "other requests at once, waiting ones included; more are refused with 503", parse=_positive
    )
    max_requests_per_patient: int = _setting(
        32, "other requests of one patient that are worked on at once; more wait for them", parse=_positive
    )
    request_wait: float = _setting(
        10.0, "seconds that a request waits for others of its patient, then 429", parse=_seconds
    )
    min_free_bytes: int = _setting(
        256 * MIB,
        "bytes left on the disks of spool files and of the local database under which uploads are refused with 503",
        parse=_whole,
    )
    max_inflated_bytes: int = _setting(256 * MIB, "the most bytes that a deflated file may inflate to", parse=_positive)
    max_frame_pixels: int = _setting(
        100_000_000, "the most pixels (rows times columns) of a frame that is rendered", parse=_positive
    )
    in_process_bytes: int = _setting(
        MIB, "the largest file in bytes that is extracted outside the worker processes", parse=_whole
    )
    extraction_timeout: float = _setting(60.0, "seconds that a worker may take to extract a file", parse=_seconds)
    render_timeout: float = _setting(30.0, "seconds that a worker may take to render a frame", parse=_seconds)
    pool_processes: int = _setting(
        0,
        "worker processes for rendering and large files, divided among the service processes; 0: one for each CPU",
        parse=_whole,
    )
    max_pool_queue: int = _setting(
        64, "jobs that may wait for a worker process; more are refused with 503", parse=_positive
    )
    max_storage_queue: int = _setting(
        256, "calls of the database that may wait for a thread; more are refused with 503", parse=_positive
    )
    max_rendered_bytes: int = _setting(
        2 * GIB, "bytes of cached pictures; the oldest are removed beyond it, 0 caches none", parse=_whole
    )
    max_near_bytes: int = _setting(
        4 * GIB,
        "bytes of originals kept near in 'near' in the data directory; the least recently used are removed beyond it, "
        "0 keeps none",
        parse=_whole,
    )
    max_outgoing_bytes: int = _setting(
        512 * MIB,
        "bytes of frames that may wait to be sent, half of them of one patient; more wait, then 429 or 503",
        parse=_positive,
    )
    max_patient_bytes: int = _setting(
        256 * GIB,
        "bytes of files that are kept for one patient; more are refused with 507, 0 sets no bound",
        parse=_whole,
    )
    pool_memory_bytes: int = _setting(
        2 * GIB, "address space that one worker process may take, in bytes", parse=_positive
    )

    recovery_interval: float = _setting(
        60.0, "seconds between two looks for extractions and deletes that were not finished", parse=_seconds
    )
    shutdown_grace: float = _setting(
        10.0, "seconds that requests have to be answered when the service is told to stop", parse=_seconds
    )

    audit_days: int | None = _setting(
        None, "days after which entries of the audit collection are removed; unset: never", parse=_days
    )

    log_level: str = _setting("INFO", "DEBUG, INFO, WARNING or ERROR", parse=_level)
    log_format: str | None = _setting(
        None, "json for machines, text for people; unset: json, and text in dev mode", parse=_log_format
    )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], overrides: Mapping[str, Any] | None = None) -> Settings:
        """Read the settings, check that a service can start with them, and return them.

        Parameters
        ----------
        environ : mapping of str to str
            The environment. A variable that is empty counts as unset. What may hold a secret can also come from a file,
            which the variable with ``_FILE`` behind its name names; one that is empty counts as unset too.
        overrides : mapping of str to Any, optional
            What flags have set, by field name; it wins. None counts as not set.

        Raises
        ------
        SettingsError
            Where a value cannot be read, or the service must not start with it.
        """
        environ = _with_files(environ)
        given = {name: value for name, value in (overrides or {}).items() if value is not None}
        values: dict[str, Any] = {}
        for setting in fields(cls):
            text = environ.get(variable(setting), "")
            if setting.name in given:
                value = given[setting.name]
                values[setting.name] = _read(setting, value) if isinstance(value, str) else value
            elif text:
                values[setting.name] = _read(setting, text)
        if "spool_dir" not in values:
            values["spool_dir"] = values.get("data_dir", Path("data")) / "spool"
        settings = cls(**values)
        _check(settings)
        return settings

    @property
    def pool_size(self) -> int:
        """How many worker processes there are."""
        return self.pool_processes or os.cpu_count() or 1


def variable(setting: Field[Any]) -> str:
    """Return the environment variable of a setting."""
    return setting.name.upper()


def _with_files(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the environment with the contents of the files that hold secrets.

    Raises
    ------
    SettingsError
        A file cannot be read, or is named beside the variable that it stands for.
    """
    read = dict(environ)
    for name in (variable(setting) for setting in fields(Settings) if not setting.metadata["flag"]):
        path = environ.get(f"{name}_FILE")
        if not path:
            continue
        if environ.get(name):
            raise SettingsError(f"{name} and {name}_FILE are both set. Unset one.")
        try:
            with Path(path).open("rb") as file:
                text = file.read(MAX_SECRET_BYTES + 1).decode("utf-8")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise SettingsError(f"The file {path} of {name}_FILE cannot be read: {reason}.") from None
        if len(text) > MAX_SECRET_BYTES:
            raise SettingsError(f"The file {path} of {name}_FILE is too long for a secret.")
        read[name] = text.strip()
    return read


def default_text(setting: Field[Any]) -> str:
    """Return a setting's default as `--help` shows it."""
    return "unset" if setting.default in (None, ()) else str(setting.default)


def _read(setting: Field[Any], text: str) -> Any:
    try:
        return setting.metadata["parse"](text)
    except ValueError as error:
        # The text of int()'s and float()'s errors is about Python, not about the setting.
        reason = str(error) if str(error).startswith("is ") else "is not a number"
        shown = f" '{text}'" if setting.metadata["flag"] else ""
        raise SettingsError(f"{variable(setting)}{shown} {reason}.") from None


def _check(settings: Settings) -> None:
    """Refuse what would start a service that is open, or that cannot let anybody in.

    Raises
    ------
    SettingsError
        With a sentence that says what to do.
    """
    if settings.jwt_secret is not None and len(settings.jwt_secret.encode()) < MIN_SECRET_BYTES:
        raise SettingsError(
            f"JWT_SECRET has under {MIN_SECRET_BYTES} bytes, which can be guessed. "
            "Make one with: python -c 'import secrets; print(secrets.token_urlsafe(48))'"
        )
    if settings.jwt_jwks is not None:
        _check_jwks(settings)
    if settings.token_lifetime > settings.jwt_max_lifetime:
        raise SettingsError("TOKEN_LIFETIME is over JWT_MAX_LIFETIME: no token of that life would be taken.")
    if settings.dev_mode:
        if not is_loopback(settings.host):
            raise SettingsError(dev_mode_refusal(settings.host))
    elif settings.jwt_secret is None and settings.jwt_jwks is None:
        raise SettingsError(
            "There is no key to verify tokens with. Set JWT_SECRET (at least 32 bytes) or JWT_JWKS (a file or an https "
            "URL), or use --dev to try the service on this machine."
        )


def _check_jwks(settings: Settings) -> None:
    """Refuse what would leave it open which keys count, or a set that is given up before it is renewed."""
    if settings.jwt_secret is not None:
        raise SettingsError(
            "JWT_SECRET and JWT_JWKS are both set, and tokens are verified with one of them. Unset one."
        )
    if settings.dev_mode:
        raise SettingsError(
            "Dev mode signs tokens with a secret of its own, and JWT_JWKS has keys to verify only. "
            "Leave dev mode off, or unset JWT_JWKS."
        )
    if settings.jwt_jwks_keep < 2 * settings.jwt_jwks_refresh:
        # Less would give the keys up while all is well, during the fetch of the next ones.
        raise SettingsError(
            "JWT_JWKS_KEEP is less than twice JWT_JWKS_REFRESH: one failed fetch would close every door."
        )


def dev_mode_refusal(host: str) -> str:
    """Return the sentence for dev mode on an address that others can reach."""
    return (
        f"Dev mode gives a token for any patient to whoever asks, so it listens on a loopback address only, "
        f"not on {host}. Leave dev mode off, or use --host 127.0.0.1."
    )
