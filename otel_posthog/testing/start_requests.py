"""Answers to what posthog-js asks besides sending events: everything is off, and no script is to be had.

A browser that is configured as it should be never asks; the sink answers so that a test can see that it did.
"""

from __future__ import annotations

import re

from starlette.responses import JSONResponse, PlainTextResponse, Response

_CONFIG_PATH = re.compile(r"/array/(?P<token>[^/]+)/config")
_FLAG_PATHS = frozenset({"/flags", "/decide"})
_ALL_OFF: dict[str, object] = {
    "supportedCompression": ["gzip", "gzip-js"],
    "hasFeatureFlags": False,
    "featureFlags": {},
    "featureFlagPayloads": {},
    "flags": {},
    "errorsWhileComputingFlags": False,
    "autocapture_opt_out": True,
    "autocaptureExceptions": False,
    "captureDeadClicks": False,
    "capturePerformance": False,
    "defaultIdentifiedOnly": True,
    "elementsChainAsString": True,
    "heatmaps": False,
    "sessionRecording": False,
    "siteApps": [],
    "surveys": False,
    "toolbarParams": {},
}


def answer_start_request(path: str) -> Response:
    """Return a configuration with everything off, or 404."""
    config = _CONFIG_PATH.fullmatch(path)
    if config is not None:
        return JSONResponse({**_ALL_OFF, "token": config["token"]})
    if path.rstrip("/") in _FLAG_PATHS:
        return JSONResponse(_ALL_OFF)
    return PlainTextResponse("The sink has nothing here.", status_code=404)
