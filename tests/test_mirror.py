"""Each module has a test file of its name in the folder of its room, or is listed here with what tests it."""

from __future__ import annotations

from pathlib import Path

import pytest
from programs import ROOT, TESTS

PACKAGE = ROOT / "otel_posthog"
ENTRANCES = ("__init__.py", "__main__.py")

# Parts that nothing uses alone: their behaviour shows through the module that composes them.
TESTED_IN = {
    "config/checks.py": "config/test_settings.py",
    "delivery/balance.py": "delivery/test_ledger.py",
    "delivery/connection.py": "delivery/test_transport.py",
    "delivery/database_files.py": "delivery/test_sqlite_file.py",
    "delivery/dry_run.py": "telemetry/test_preview.py",
    "delivery/stored_batch.py": "delivery/test_spool_file.py",
    "demo/app.py": "demo/test_demo.py",
    "demo/running.py": "demo/test_demo.py",
    "errors.py": "config/test_settings.py",  # near misses, in the messages they are part of
    "gateway/delivery.py": "gateway/test_app.py",
    "gateway/gateway.py": "gateway/test_app.py",
    "mapping/records.py": "mapping/test_logs.py",
    "middleware/asgi.py": "conformance/test_conformance.py",
    "middleware/exceptions.py": "conformance/test_conformance.py",
    "otel/api.py": "otel/test_seams.py",
    "otel/sdk.py": "otel/test_seams.py",
    "pipeline/providers.py": "end_to_end/test_spans.py",
    "pipeline/request_tracing.py": "end_to_end/test_span_rules.py",
    "registry/builtin.py": "registry/test_registry.py",
    "registry/declarations.py": "registry/test_registry.py",
    "registry/documents.py": "registry/test_manifest.py",
    "scrubbing/entropy.py": "scrubbing/test_rules.py",
    "scrubbing/key_values.py": "scrubbing/test_rules.py",
    "scrubbing/messages.py": "scrubbing/test_rules.py",
    "scrubbing/personal.py": "scrubbing/test_rules.py",
    "scrubbing/prose.py": "scrubbing/test_rules.py",
    "scrubbing/tokens.py": "scrubbing/test_rules.py",
    "scrubbing/urls.py": "scrubbing/test_rules.py",
    "scrubbing/values.py": "scrubbing/test_rules.py",
    "store/engines.py": "store/test_files.py",
    "store/schema.py": "store/test_migrations.py",
    "telemetry/error_capture.py": "emit/test_hooks.py",
    "telemetry/exporters.py": "test_declarative.py",
    "telemetry/lifecycle.py": "integration/test_processes.py",
    "telemetry/telemetry.py": "end_to_end/test_consent.py",
    "testing/decoding.py": "testing/test_rules.py",
    "testing/event_checks.py": "testing/test_rules.py",
    "testing/exception_checks.py": "testing/test_rules.py",
    "testing/faults.py": "testing/test_sink.py",
    "testing/in_memory.py": "test_pytest_plugin.py",
    "testing/network_guard.py": "test_pytest_plugin.py",
    "testing/pages.py": "testing/test_sink.py",
    "testing/records.py": "testing/test_sink.py",
    "testing/submission.py": "testing/test_rules.py",
    "web/requests.py": "settings_api/test_routes.py",
}
MODULES = sorted(
    path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if path.name not in ENTRANCES
)


def _own(module):
    """Return the test file that mirrors the module."""
    path = Path(module)
    return path.with_name(f"test_{path.name.lstrip('_')}").as_posix()


@pytest.mark.parametrize("module", MODULES)
def test_module_has_its_tests(module):
    """Whoever changes a module finds its tests by its name, or in the list above."""
    assert ((TESTS / _own(module)).exists()) != (module in TESTED_IN), _own(module)


@pytest.mark.parametrize("module", TESTED_IN)
def test_list_is_true(module):
    """The list names modules and test files that exist."""
    assert (PACKAGE / module).exists()
    assert (TESTS / TESTED_IN[module]).exists()
