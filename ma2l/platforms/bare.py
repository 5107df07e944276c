"""A server without any platform: only flags say that there are other nodes."""

from __future__ import annotations

from ma2l.platforms.base import Platform

BARE = Platform(name="bare server", signs=(), variables={"pod": ("HOSTNAME",), "ips": ("POD_IP", "HOST_IP")})
