"""Who talks to the object store, and where it is.

The variables of the credentials are those of the OBS SDK (``OBS_ACCESS_KEY_ID``, ``OBS_SECRET_ACCESS_KEY``,
``OBS_SECURITY_TOKEN``); with ``_FILE`` behind the name they hold the path of a file, as container secrets do. A job of
ModelArts knows its endpoint by ``S3_ENDPOINT`` and ``S3_USE_HTTPS``; its ``S3_VERIFY_SSL`` is not obeyed: a store whose
certificate nobody checks may be anybody's.
"""

from __future__ import annotations

from collections.abc import Mapping

from ma2l.errors import ConfigError
from ma2l.records import dataclass, field

KEY, SECRET, TOKEN = "OBS_ACCESS_KEY_ID", "OBS_SECRET_ACCESS_KEY", "OBS_SECURITY_TOKEN"
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True)
class Access:
    """Everything a client needs."""

    endpoint: str
    """With ``https://`` or ``http://``."""
    key: str = field(repr=False)
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    hosts: tuple[tuple[str, str], ...] = ()
    """IP by name, for clouds whose names no name server knows. Names below one of these have its IP too."""

    @property
    def host(self) -> str:
        """Name or address of the endpoint."""
        return (
            self.endpoint.partition("://")[2].partition("/")[0].rpartition(":")[0] or self.endpoint.partition("://")[2]
        )

    @property
    def plain(self) -> bool:
        """Whether everything, keys too, goes over a network unencrypted."""
        return self.endpoint.startswith("http://") and self.host not in _LOOPBACK


def access(environ: Mapping[str, str], endpoint: str | None, hosts: str | None, ca_file: str | None) -> Access:
    """Put it together.

    Args:
        environ: the environment.
        endpoint: the option; ``None`` for the variables'.
        hosts: ``name=ip,name=ip``.
        ca_file: certificates to trust instead of the system's.

    Raises:
        ConfigError: something is missing or wrong; no message holds a secret.
    """
    key, secret = credential(environ, KEY), credential(environ, SECRET)
    for name, value in ((KEY, key), (SECRET, secret)):
        if not value:
            raise ConfigError("talk to OBS", f"{name} is not set", f"set it, or {name}_FILE to the path of a file")
    return Access(
        _endpoint(environ, endpoint), key, secret, credential(environ, TOKEN) or None, ca_file, parse_hosts(hosts)
    )


def credential(environ: Mapping[str, str], name: str) -> str:
    """The value of a variable, or the content of the file that its ``_FILE`` names; empty where there is neither.

    Raises:
        ConfigError: the file cannot be read.
    """
    if environ.get(name):
        return environ[name]
    path = environ.get(f"{name}_FILE")
    if not path:
        return ""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(65536).strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(f"read {name}_FILE={path}", str(why), "correct the path") from None


def parse_hosts(text: str | None) -> tuple[tuple[str, str], ...]:
    """``name=ip,name=ip`` as pairs.

    Raises:
        ConfigError: it has another form.
    """
    from ma2l.linux.net import is_address

    pairs = []
    for item in filter(None, (text or "").split(",")):
        name, _, ip = (part.strip() for part in item.partition("="))
        if not name or not is_address(ip):
            raise ConfigError(f"use --obs-hosts {text}", f"{item!r} is no name=ip", "write obs.example.com=192.0.2.1")
        pairs.append((name.lower(), ip))
    return tuple(pairs)


def _endpoint(environ: Mapping[str, str], option: str | None) -> str:
    text = option or environ.get("OBS_ENDPOINT") or environ.get("S3_ENDPOINT") or ""
    if not text:
        raise ConfigError(
            "talk to OBS", "nothing says where it is", "pass --obs-endpoint https://obs.REGION.myhuaweicloud.com"
        )
    if "://" not in text:
        plain = not option and not environ.get("OBS_ENDPOINT") and environ.get("S3_USE_HTTPS") == "0"
        text = f"{'http' if plain else 'https'}://{text}"
    if not text.startswith(("https://", "http://")) or any(map(str.isspace, text)) or "@" in text:
        raise ConfigError(
            "use this endpoint of OBS", "it is no https:// address", "write https://obs.REGION.myhuaweicloud.com"
        )
    return text.rstrip("/")
