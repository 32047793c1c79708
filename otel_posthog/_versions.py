"""Say which version of a package is supported, where one has moved what we stand on."""

from __future__ import annotations

from .errors import UnsupportedVersionError

_OURS = "otel-posthog"


def unsupported(package: str, error: ImportError) -> UnsupportedVersionError:
    """Return the error to raise where the package lacks a name that we import."""
    from importlib.metadata import PackageNotFoundError, requires, version  # noqa: PLC0415 - hardly ever needed

    try:
        present = version(package)
    except PackageNotFoundError:
        present = "unknown"
    wanted = [line.partition(";")[0].strip() for line in requires(_OURS) or ()]
    supported = next((line for line in wanted if line.startswith(package)), package)
    return UnsupportedVersionError(
        f"{package} {present} lacks what otel-posthog stands on ({error.msg}). Supported is {supported}: "
        f"install that, or a newer otel-posthog."
    )
