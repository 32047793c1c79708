"""The command line."""

from __future__ import annotations

import pytest

from otel_posthog.cli import main
from otel_posthog.config.settings import SETTINGS


def test_config_show_names_every_setting_with_its_source(capsys):
    """Each setting is shown with value, unit and where it came from."""
    code = main(["config", "show"], {"OTEL_POSTHOG_BATCH_DELAY_S": "2.5"})

    printed = capsys.readouterr().out
    assert code == 0
    assert "batch_delay_s = 2.5 seconds  [OTEL_POSTHOG_BATCH_DELAY_S]" in printed
    assert all(f"{row.name} = " in printed for row in SETTINGS)


def test_config_show_names_the_file(capsys, tmp_path):
    """What a configuration file says is shown with the file as its source, below the environment."""
    file = tmp_path / "otel.yaml"
    block = "{api_key: phc_0123456789abcdef, environment: staging, host: 'https://h.example'}"
    file.write_text(
        'file_format: "1.0"\ntracer_provider:\n  processors:\n'
        f"    - simple: {{exporter: {{posthog: {block}}}}}\n"
    )

    code = main(["config", "show"], {"OTEL_CONFIG_FILE": str(file), "ENVIRONMENT": "production"})

    printed = capsys.readouterr().out
    assert code == 0
    assert "environment = production  [ENVIRONMENT]" in printed
    assert f"host = https://h.example  [{file}]" in printed
    assert "0123456789abcdef" not in printed


def test_config_schema_is_json(capsys):
    """The schema for editors is printed as JSON, with our block in it."""
    assert main(["config", "schema"], {}) == 0

    assert '"posthog"' in capsys.readouterr().out


def test_config_show_masks_secrets(capsys):
    """Neither the whole API key nor a database's password is printed."""
    environ = {
        "POSTHOG_API_KEY": "phc_0123456789abcdef",
        "OTEL_POSTHOG_DATABASE": "postgresql://u:planted-password@db.example/x?password=planted-too",
    }

    main(["config", "show"], environ)

    printed = capsys.readouterr().out
    assert "planted" not in printed
    assert "0123456789abcdef" not in printed


def test_bad_setting_is_one_clear_line(capsys):
    """A bad value ends with code 2 and a line that says what is expected."""
    code = main(["config", "show"], {"OTEL_POSTHOG_BATCH_DELAY_S": "soon"})

    assert code == 2
    assert capsys.readouterr().err == (
        "otel-posthog: OTEL_POSTHOG_BATCH_DELAY_S='soon' is not a number of seconds.\n"
    )


def test_unknown_command_is_refused(capsys):
    """A command that is not there ends with code 2 and names those that are."""
    with pytest.raises(SystemExit) as ended:
        main(["fly"])

    assert ended.value.code == 2
    assert "demo" in capsys.readouterr().err
