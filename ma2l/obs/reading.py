"""Figures in a bucket, for ``ma2l results obs://...``."""

from __future__ import annotations

from collections.abc import Mapping

from ma2l.obs.access import access
from ma2l.obs.client import Client, ObsError
from ma2l.obs.url import parse
from ma2l.results.sources import Found, found

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ma2l.results.figures import Content
    from ma2l.settings import Settings


def of_bucket(place: str, settings: Settings, environ: Mapping[str, str], called: str = "") -> Found:
    """What lies below a place in a bucket; the endpoint and the rest are ma2l's options.

    Raises:
        ConfigError, ObsError: it cannot be read.
    """
    url = parse(place)
    client = Client(access(environ, settings.obs_endpoint, settings.obs_hosts, settings.obs_ca_file))
    names = sorted(name[len(url.prefix) :] for name in client.objects(url))

    def read(name: str, limit: int) -> Content:
        try:
            return client.get(url, url.prefix + name, limit)
        except ObsError as error:
            return str(error)

    return found(names, read, called)
