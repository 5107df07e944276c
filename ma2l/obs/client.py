"""The only user of the OBS SDK (esdk-obs-python).

What it does by itself would surprise: it checks no certificate, and where told to no host name; it looks for
credentials at a metadata address; a refusal by the store is a return value. So it gets a TLS context of ours, explicit
credentials, no redirects (they would take the keys to another host), and every answer is looked at here.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from functools import partial

from ma2l.errors import ConfigError, Ma2lError
from ma2l.obs.access import Access
from ma2l.obs.url import Url
from ma2l.records import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TIMEOUT = 30
"""Seconds without a byte."""
TRIES = 4
PAUSE = 0.5
"""Seconds before the second try; doubled for each further one."""
PART = 64 * 2**20
"""Bytes from which on a file is sent in parts, so that a cut upload can be taken up again."""
_MISTAKES = range(300, 500)
"""Statuses that another try does not change."""


class ObsError(Ma2lError):
    """The object store cannot be reached or refuses.

    Args:
        lasting: whether another try is of no use: wrong keys, no such bucket, a certificate that is not trusted.
    """

    def __init__(self, what: str, why: str, do: str = "", lasting: bool = False) -> None:
        super().__init__(what, why, do)
        self.exit_code = 78 if lasting else 203


@dataclass(frozen=True)
class Stored:
    """An object in the bucket."""

    size: int
    etag: str
    """MD5 in hexadecimal for what was sent in one piece, something else otherwise."""


class Client:
    """A connection to one endpoint.

    Args:
        access: where and who.

    Raises:
        ConfigError: the SDK is not installed, or a file of certificates cannot be read.
    """

    def __init__(self, access: Access, pause: Callable[[float], None] = time.sleep) -> None:
        try:
            from obs import ObsClient
        except ImportError:
            raise ConfigError(
                "talk to OBS", "the package esdk-obs-python is not installed", "pip install 'ma2l[obs]'"
            ) from None
        self._endpoint = access.endpoint
        self._pause = pause
        if access.hosts:
            _know(dict(access.hosts))
        self._sdk: Any = ObsClient(
            access_key_id=access.key,
            secret_access_key=access.secret,
            security_token=access.token,
            server=access.endpoint,
            path_style=access.host == "localhost",  # a bucket's name in front of it leads nowhere
            ssl_verify=True,
            max_retry_count=0,
            max_redirect_count=0,
            timeout=TIMEOUT,
        )
        if self._sdk.is_secure:
            self._sdk.context = _trusting(access.ca_file)

    def objects(self, url: Url) -> dict[str, Stored]:
        """Everything below a place, by object name."""
        return dict(self._pages(url))

    def _pages(self, url: Url) -> Iterator[tuple[str, Stored]]:
        marker = None
        while True:
            ask = partial(self._sdk.listObjects, url.bucket, prefix=url.prefix, marker=marker)
            body = self._ask(f"list {url}", ask).body
            for item in body.contents:
                yield item.key, Stored(int(item.size), str(item.etag).strip('"'))
            if not body.is_truncated:
                return
            marker = body.next_marker or body.contents[-1].key

    def get(self, url: Url, name: str, limit: int) -> bytes:
        """At most so many bytes of an object, and one more where it is larger."""
        answer = self._ask(
            f"read obs://{url.bucket}/{name}", lambda: self._sdk.getObject(url.bucket, name, loadStreamInMemory=False)
        )
        try:
            return bytes(answer.body.response.read(limit + 1))
        except OSError as error:
            raise self._unreached(f"read obs://{url.bucket}/{name}", error) from None
        finally:
            answer.body.response.close()

    def put(self, url: Url, name: str, path: str, record: str, told: Callable[[int], None]) -> None:
        """Send a file.

        Args:
            record: path for what the SDK notes of a file sent in parts, to take it up again.
            told: is called with the bytes sent so far.

        Raises:
            ObsError: it did not get there.
            OSError: the file cannot be read.
        """

        def progress(sent: int, _total: int, _seconds: float) -> None:
            told(sent)

        with open(path, "rb") as file:  # of a vanished file the SDK says that the connection failed
            size = file.seek(0, os.SEEK_END)
            source = path if _is_utf8(path) else f"/proc/self/fd/{file.fileno()}"  # the SDK knows no other names

            def send() -> Any:
                if size < PART:
                    return self._sdk.putFile(url.bucket, name, source, progressCallback=progress)
                parts = {"enableCheckpoint": True, "checkpointFile": record, "partSize": PART // 4, "taskNum": 1}
                return self._sdk.uploadFile(url.bucket, name, source, progressCallback=progress, **parts)

            self._ask(f"send {path} to {url}", send)

    def _ask(self, what: str, question: Callable[[], Any]) -> Any:
        """One question to the store, again where that may help."""
        for attempt in range(TRIES):
            if attempt:
                self._pause(PAUSE * 2 ** (attempt - 1))
            try:
                answer = question()
            except OSError as error:
                failure = self._unreached(what, error)
            except Exception as error:  # noqa: BLE001 - the SDK raises bare Exceptions
                failure = ObsError(what, f"{type(error).__name__}: {' '.join(str(error).split())}")
            else:
                if answer.status < 300:
                    return answer
                failure = self._refused(what, answer)
            if failure.exit_code == 78:
                break
        raise failure

    def _refused(self, what: str, answer: Any) -> ObsError:
        status, code = answer.status, answer.errorCode or ""
        why = f"{self._endpoint} answers {status} {code or answer.reason or ''}".rstrip()
        message = " ".join(str(answer.errorMessage or "").split())
        why += f" ({message[:200]})" if message else ""
        do = {
            "InvalidAccessKeyId": "check OBS_ACCESS_KEY_ID",
            "SignatureDoesNotMatch": "check OBS_SECRET_ACCESS_KEY",
            "NoSuchBucket": "check the bucket's name, or create it",
            "AccessDenied": "have the bucket's owner allow it",
        }.get(
            code,
            "check the endpoint's region"
            if 300 <= status < 400
            else "check keys and bucket"
            if status in (401, 403)
            else "",
        )
        return ObsError(what, why, do, lasting=status in _MISTAKES and status not in (408, 429))

    def _unreached(self, what: str, error: OSError) -> ObsError:
        if isinstance(error, ssl.SSLCertVerificationError):
            why = f"the certificate of {self._endpoint} is not trusted: {error.verify_message}"
            return ObsError(what, why, "pass --obs-ca-file with the certificates of that cloud", lasting=True)
        if isinstance(error, socket.gaierror):
            return ObsError(
                what,
                f"no name server knows {self._endpoint} or the bucket below it",
                "check --obs-endpoint, or pass --obs-hosts",
            )
        reason = error.strerror or str(error) or type(error).__name__
        return ObsError(what, f"{self._endpoint} cannot be reached: {reason}", "check --obs-endpoint and the network")


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _trusting(ca_file: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise ConfigError(
            f"use --obs-ca-file {ca_file}", str(error.strerror or error), "name a file in PEM format"
        ) from None


def _know(ips: dict[str, str]) -> None:
    """Look these names up here, as entries of /etc/hosts would be, and those below them, which buckets are."""
    ask = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.lower() if isinstance(host, str) else ""
        ip = next((ip for known, ip in ips.items() if name == known or name.endswith(f".{known}")), None)
        return ask(ip or host, *args, **kwargs)

    socket.getaddrinfo = getaddrinfo
