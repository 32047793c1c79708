"""What every backend event carries (requirement R18)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version

from otel_posthog.scrubbing import Scrubber

LIBRARY = "otel-posthog"
NO_ADDRESS = "0.0.0.0"  # noqa: S104 - a value, not a bind; without `$ip` PostHog adds the sender's
HOST_WITHHELD = "host.invalid"  # RFC 2606 keeps .invalid free of real hosts


@cache
def _library_version() -> str:
    """Return it without parsing the package's metadata for each event, which takes half a millisecond."""
    return version(LIBRARY)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseProperties:
    """The properties that do not depend on the record."""

    environment: str
    service_version: str | None = None
    send_host: bool = False
    reads_source: bool = True
    """Whether source lines are read from this machine's disk: only where the frames are this program's."""
    roots: frozenset[str] = frozenset()
    """Top-level packages of the product, whose frames are its own wherever they are installed."""
    steps_max_bytes: int = 8_000
    scrubber: Scrubber = field(default_factory=Scrubber, repr=False, compare=False)
    _fixed: dict[str, object] = field(default_factory=dict, init=False, repr=False, compare=False)

    def as_dict(self) -> dict[str, object]:
        """Return them as they leave: no person profile, no address, no location."""
        properties: dict[str, object] = {
            "source": "backend",
            "environment": self.environment,
            "$process_person_profile": False,
            "$geoip_disable": True,
            "$ip": NO_ADDRESS,
            "$lib": LIBRARY,
            "$lib_version": _library_version(),
        }
        if self.service_version:
            properties["service_version"] = self.service_version
        return properties

    def over(self, own: Mapping[str, object]) -> dict[str, object]:
        """Return the event's own properties with these, which come first and win over equal names."""
        base = self._fixed
        if not base:
            base.update(self.as_dict())
        return {**base, **own, **base}

    def url(self, scheme: object, host: object, path: str) -> str:
        """Return `$current_url`: no query, no credentials, and a constant host unless `send_host` is on."""
        shown = str(host).rpartition("@")[2] if self.send_host and host else HOST_WITHHELD
        return f"{scheme}://{shown}{path}"
