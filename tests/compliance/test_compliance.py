"""PostHog's test harness for SDKs, run on this library: each test that fails contradicts a promise.

`OTEL_POSTHOG_COMPLIANCE_HARNESS` names a checkout of https://github.com/PostHog/posthog-sdk-test-harness.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from ports import free_port

from otel_posthog.testing import serve

from .adapter import Adapter

CHECKOUT = os.environ.get("OTEL_POSTHOG_COMPLIANCE_HARNESS")
PACKAGES = ("aiohttp", "click", "flask", "yaml")
RUN_S = 1_200  # the suites wait for 90 and 170 seconds in sum, whatever the machine

BATCH = (
    "Events go to `/batch/`, which every PostHog understands: no v1 headers, options or verdicts per event"
)
DECLARED = "Only declared properties leave: nothing can set a person, a group, or an option of PostHog's"
GZIP = "Requests are always compressed"
INSTALLATION = "The only identity is the installation's random UUID, so a caller cannot name a person"
LIVE = "Events are sent when they happen; there is no setting for imports of old ones"
PATIENT = "What was accepted is retried until `spool_max_age_s`: no number of retries ends that"

FAILURES = {
    "capture": {
        "format_validation.distinct_id_is_string": INSTALLATION,
        "format_validation.event_has_required_fields": INSTALLATION,
        "retry_behavior.max_retries_respected": PATIENT,
    },
    "capture_v1": {
        "batch_behavior.batch_envelope_smoke": BATCH,
        "batch_behavior.created_at_reflects_batch_creation_time": BATCH,
        "body_format.body_has_created_at_and_batch": BATCH,
        "body_format.no_api_key_in_body": BATCH,
        "body_format.no_sent_at_in_body": BATCH,
        "compression.no_content_encoding_when_disabled": GZIP,
        "endpoint_and_method.does_not_use_legacy_endpoints": BATCH,
        "endpoint_and_method.targets_v1_endpoint": BATCH,
        "event_format.groups_properties_preserved": DECLARED,
        "event_format.groups_properties_preserved_batch": DECLARED,
        "event_format.set_once_properties_preserved": DECLARED,
        "event_format.set_once_properties_preserved_batch": DECLARED,
        "event_format.set_properties_preserved": DECLARED,
        "event_format.set_properties_preserved_batch": DECLARED,
        "event_options.cookieless_mode_override": DECLARED,
        "event_options.disable_skew_correction_override": DECLARED,
        "event_options.options_override_in_batch": DECLARED,
        "event_options.process_person_profile_override": BATCH,
        "event_options.product_tour_id_override": DECLARED,
        "geoip_and_historical_migration.historical_migration_set_in_body": LIVE,
        "header_behavior_on_retry.attempt_header_increments_on_retry": BATCH,
        "header_behavior_on_retry.attempt_header_starts_at_one": BATCH,
        "header_behavior_on_retry.different_requests_have_different_request_ids": BATCH,
        "header_behavior_on_retry.request_id_preserved_on_retry": BATCH,
        "header_behavior_on_retry.request_timestamp_changes_on_retry": BATCH,
        "partial_batch_handling.partial_retry_attempt_header_increments": BATCH,
        "partial_batch_handling.partial_retry_preserves_uuids": BATCH,
        "partial_batch_handling.partial_retry_request_id_preserved": BATCH,
        "partial_batch_handling.prunes_dropped_events_on_partial_retry": BATCH,
        "partial_batch_handling.prunes_ok_events_on_partial_retry": BATCH,
        "partial_batch_handling.respects_retry_after_on_partial": BATCH,
        "partial_batch_handling.retries_only_retry_events_from_partial": BATCH,
        "required_headers.has_authorization_bearer_header": BATCH,
        "required_headers.has_posthog_attempt_header": BATCH,
        "required_headers.has_posthog_request_id": BATCH,
        "required_headers.has_posthog_request_timestamp": BATCH,
        "required_headers.has_posthog_sdk_info_format": BATCH,
        "response_format_validation.response_echoes_request_id": BATCH,
        "response_format_validation.success_response_has_ok_for_each_event": BATCH,
        "response_format_validation.success_response_has_uuid_keyed_results": BATCH,
        "retry_behavior.max_retries_respected": PATIENT,
        "retry_behavior.retryable_errors_have_retry_after": BATCH,
    },
}


@pytest.mark.skipif(
    not CHECKOUT, reason="OTEL_POSTHOG_COMPLIANCE_HARNESS names no checkout of PostHog's harness"
)
@pytest.mark.timeout(RUN_S)
@pytest.mark.parametrize("suite", FAILURES)
def test_what_fails_contradicts_a_promise(suite, tmp_path):
    """The tests of the suite that fail are exactly those that a promise forbids to pass."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    assert missing == [], f"The harness needs packages: uv pip install {' '.join(PACKAGES)}"

    results = _results_of(suite, tmp_path)

    failed = {result["name"]: result["message"] for result in results if not result["passed"]}
    _print_table(suite, len(results), failed)
    assert len(results) > len(failed)
    assert {name: why for name, why in failed.items() if name not in FAILURES[suite]} == {}
    assert sorted(FAILURES[suite].keys() - failed.keys()) == [], "they pass now: remove their rows"


def _results_of(suite, folder):
    """Run the harness's own command, and return its result for each test."""
    report, port = folder / "report.json", free_port()
    command = [sys.executable, "-m", "posthog_test_harness.cli", "run", "--suite", suite]
    command += ["--mock-port", str(port), "--mock-url", f"http://127.0.0.1:{port}", "--report", str(report)]
    variables = {**os.environ, "PYTHONPATH": str(Path(CHECKOUT) / "src")}
    with Adapter(folder) as adapter, serve(adapter.app()) as url:
        run = subprocess.run(
            [*command, "--adapter-url", url],
            cwd=CHECKOUT,
            env=variables,
            capture_output=True,
            text=True,
            timeout=RUN_S,
            check=False,
        )
    assert report.exists(), run.stdout + run.stderr
    [found] = json.loads(report.read_text())["suites"]
    return found["tests"]


def _print_table(suite, count, failed):
    rows = [f"| {name} | {FAILURES[suite].get(name, failed[name])} |" for name in sorted(failed)]
    print("\n".join([f"{suite}: {count - len(failed)} of {count} pass", *rows]))  # noqa: T201 - the result
