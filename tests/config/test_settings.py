"""The table of settings: where values come from, what is refused, what is kept secret."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from otel_posthog.config.checks import headers_of
from otel_posthog.config.settings import KILL_SWITCHES, SETTINGS, Config
from otel_posthog.errors import ConfigError

DOCS = Path(__file__).parents[2] / "docs" / "configuration.md"
ROWS = {row.name: row for row in SETTINGS}
NUMBERS = [row for row in SETTINGS if row.type in (int, float)]


def _documented_rows():
    lines = [line for line in DOCS.read_text().splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_argument_wins_over_environment():
    """An argument beats the variable of the same setting."""
    config = Config.resolve({"environment": "staging"}, {"ENVIRONMENT": "development"})

    assert (config.environment, config.sources["environment"]) == ("staging", "argument")


def test_environment_wins_over_default():
    """A variable beats the default, and the source names it."""
    config = Config.resolve({}, {"ENVIRONMENT": "development"})

    assert (config.environment, config.sources["environment"]) == ("development", "ENVIRONMENT")


def test_first_variable_wins_over_second():
    """The variable of our own beats the general one."""
    config = Config.resolve({}, {"POSTHOG_API_KEY": "phc_second", "OTEL_POSTHOG_API_KEY": "phc_first"})

    assert (config.api_key, config.sources["api_key"]) == ("phc_first", "OTEL_POSTHOG_API_KEY")


@pytest.mark.parametrize("empty", ["", "  "])
def test_empty_variable_counts_as_not_set(empty):
    """An empty variable leaves the default in force."""
    config = Config.resolve({}, {"OTEL_POSTHOG_BATCH_DELAY_S": empty})

    assert (config.batch_delay_s, config.sources["batch_delay_s"]) == (1.0, "default")


def test_argument_none_counts_as_not_given():
    """An argument of None leaves the environment in force."""
    config = Config.resolve({"environment": None}, {"ENVIRONMENT": "development"})

    assert config.environment == "development"


def test_defaults_are_valid():
    """Without anything given, each setting has its default and says so."""
    config = Config.resolve({}, {})

    assert {row.name: (getattr(config, row.name), config.sources[row.name]) for row in SETTINGS} == {
        row.name: (row.default, "default") for row in SETTINGS
    }


@pytest.mark.parametrize("row", [row for row in SETTINGS if row.name != "disabled"], ids=lambda row: row.name)
def test_each_setting_has_an_argument_and_a_variable(row):
    """Each setting can be given either way, with the same result."""
    wanted = {str: "https://example.org", bool: True, int: row.minimum + 1, float: row.maximum / 2}[row.type]
    texts = {
        "marker_prefix": "acme",
        "heartbeat_time": "23:59",
        "product_roots": "acme, acme_api",
        "send_to": "collector",
        "collector_headers": "x-tenant=acme",
        "collector_compression": "none",
        "browser_reports": "direct",
        "browser_reports_need": "user",
    }
    wanted = texts.get(row.name) or row.type(wanted)

    by_argument = Config.resolve({row.name: wanted}, {})
    by_variable = Config.resolve({}, {row.env[0]: str(wanted)})

    assert getattr(by_argument, row.name) == getattr(by_variable, row.name) == wanted


def test_product_roots_are_names_between_commas():
    """The names of the product's packages are given as one text."""
    assert Config.resolve({"product_roots": "acme, acme_api"}, {}).roots == {"acme", "acme_api"}
    assert Config.resolve({}, {}).roots == frozenset()


@pytest.mark.parametrize("text", ["/srv/acme", "acme,", "acme.api"])
def test_product_roots_that_are_no_names_are_refused(text):
    """A folder or a submodule is no top-level package."""
    with pytest.raises(ConfigError, match=r"OTEL_POSTHOG_PRODUCT_ROOTS.*does not name top-level packages"):
        Config.resolve({}, {"OTEL_POSTHOG_PRODUCT_ROOTS": text})


@pytest.mark.parametrize("row", NUMBERS, ids=lambda row: row.name)
def test_bad_number_is_named(row):
    """A variable that is no number is told by name, with what was found and the unit expected."""
    with pytest.raises(ConfigError) as caught:
        Config.resolve({}, {row.env[0]: "many"})

    assert str(caught.value) == f"{row.env[0]}='many' is not a number of {row.unit}."


@pytest.mark.parametrize("row", NUMBERS, ids=lambda row: row.name)
def test_number_below_its_bound_is_named(row):
    """A number out of bounds is told by name, with what was found and both bounds."""
    low = row.type(row.minimum - 1)

    with pytest.raises(ConfigError) as caught:
        Config.resolve({}, {row.env[0]: str(low)})

    assert str(caught.value) == (
        f"{row.env[0]} is {low}, but must lie between {row.minimum:g} and {row.maximum:g} {row.unit}."
    )


@pytest.mark.parametrize("row", [row for row in NUMBERS if row.maximum < 1e300], ids=lambda row: row.name)
def test_number_above_its_bound_is_refused(row):
    """A number above the upper bound is refused."""
    with pytest.raises(ConfigError, match=f"{row.env[0]} is .* must lie between"):
        Config.resolve({}, {row.env[0]: str(row.type(row.maximum + 1))})


@pytest.mark.parametrize("text", ["nan", "inf", "-inf"])
def test_number_that_is_none_is_refused(text):
    """NaN and infinity are no durations."""
    with pytest.raises(ConfigError, match="OTEL_POSTHOG_HTTP_TIMEOUT_S"):
        Config.resolve({}, {"OTEL_POSTHOG_HTTP_TIMEOUT_S": text})


def test_bad_boolean_is_named():
    """A variable that is no boolean is told by name, with what was found and what is expected."""
    with pytest.raises(ConfigError) as caught:
        Config.resolve({}, {"OTEL_POSTHOG_SEND_HOST": "maybe"})

    assert str(caught.value) == "OTEL_POSTHOG_SEND_HOST='maybe' is not a boolean. Use 1 or 0."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_max_events": "100"}, "argument batch_max_events must be int, not str."),
        ({"batch_max_events": True}, "argument batch_max_events must be int, not bool."),
        ({"batch_delay_s": True}, "argument batch_delay_s must be float, not bool."),
        ({"send_host": 1}, "argument send_host must be bool, not int."),
        ({"environment": b"production"}, "argument environment must be str, not bytes."),
    ],
)
def test_argument_of_the_wrong_type_is_named(arguments, message):
    """An argument of the wrong type is told by name, with both types."""
    with pytest.raises(ConfigError) as caught:
        Config.resolve(arguments, {})

    assert str(caught.value) == message


def test_whole_number_serves_as_duration():
    """An int is good enough where seconds are expected."""
    config = Config.resolve({"batch_delay_s": 2}, {})

    assert config.batch_delay_s == 2.0


def test_unknown_argument_suggests_the_nearest():
    """A misspelt argument is answered with the name that was probably meant."""
    with pytest.raises(ConfigError) as caught:
        Config.resolve({"batch_dely_s": 1.0}, {})

    assert str(caught.value) == "There is no setting 'batch_dely_s'. Did you mean 'batch_delay_s'?"


def test_unknown_argument_without_a_near_one_is_refused():
    """An argument like nothing known is refused without a guess."""
    with pytest.raises(ConfigError) as caught:
        Config.resolve({"zzz": 1}, {})

    assert str(caught.value) == "There is no setting 'zzz'."


@pytest.mark.parametrize("switch", KILL_SWITCHES)
@pytest.mark.parametrize("value", ["1", "true", "yes", "on", "2", "maybe", "TRUE", " 1 "])
def test_kill_switch_switches_off(switch, value):
    """Any value but an empty one and a no switches off, and is named as the source (R2)."""
    config = Config.resolve({}, {switch: value})

    assert (config.disabled, config.sources["disabled"]) == (True, switch)


@pytest.mark.parametrize("switch", KILL_SWITCHES)
@pytest.mark.parametrize("value", ["", "0", "false", "no", "off", "FALSE", " 0 "])
def test_kill_switch_at_no_leaves_all_as_it_is(switch, value):
    """An empty value or a no does nothing."""
    config = Config.resolve({}, {switch: value})

    assert (config.disabled, config.sources["disabled"]) == (False, "default")


@pytest.mark.parametrize("switch", KILL_SWITCHES)
def test_argument_does_not_override_a_kill_switch(switch):
    """`disabled=False` does not bring back what the environment has switched off (R2)."""
    config = Config.resolve({"disabled": False}, {switch: "1"})

    assert config.disabled is True


@pytest.mark.parametrize("switch", KILL_SWITCHES)
def test_kill_switch_never_switches_on(switch):
    """A switch at 0 does not bring back what an argument has switched off (R2)."""
    config = Config.resolve({"disabled": True}, {switch: "0"})

    assert (config.disabled, config.sources["disabled"]) == (True, "argument")


def test_secrets_are_not_in_the_repr():
    """API key and database URL stay out of the repr."""
    config = Config.resolve({"api_key": "phc_planted", "database": "postgresql://u:planted@h/db"}, {})

    assert "planted" not in repr(config)
    assert "host='https://eu.posthog.com'" in repr(config)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:planted@h:5432/db", "postgresql://u:…@h:5432/db"),
        ("postgresql://u:plan@ted@h/db", "postgresql://u:…@h/db"),
        ("postgresql://u:plan/ted@h/db", "postgresql://u:…@h/db"),
        ("postgresql://u:plan?ted@h/db", "postgresql://…"),
        ("postgresql://planted@h/db", "postgresql://:…@h/db"),
        ("postgresql://h/db?user=u&password=planted", "postgresql://h/db?…"),
        ("postgresql://h/db?password=plan@ted", "postgresql://…"),
        ("postgresql://h/db;password=planted", "postgresql://h/db?…"),
        ("postgresql://h/db#planted", "postgresql://h/db?…"),
        ("planted postgresql://u:planted@h/a", "… postgresql://u:…@h/a"),
        ("sqlite:///data/app.db", "sqlite:///data/app.db"),
    ],
)
def test_password_in_a_database_url_is_masked(url, shown):
    """Neither user information nor query of a database URL is shown."""
    assert ROWS["database"].show(url) == shown


@pytest.mark.parametrize(("key", "shown"), [("phc_0123456789abcdefghij", "phc_0123…"), ("planted", "pl…")])
def test_api_key_is_masked(key, shown):
    """An API key is shown by its beginning, and a short one not nearly whole."""
    assert ROWS["api_key"].show(key) == shown


@pytest.mark.parametrize("name", ["spool_dir", "environment", "service_version", "manifest", "events"])
def test_url_with_a_password_is_masked_wherever_it_stands(name):
    """Somebody may have put it into the wrong variable."""
    assert ROWS[name].show("postgresql://u:planted@h/db") == "postgresql://u:…@h/db"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_POSTHOG_BATCH_DELAY_S", "postgres://u:planted@h/x"),
        ("OTEL_POSTHOG_SEND_HOST", "postgres://u:planted@h/x"),
        ("OTEL_POSTHOG_HEARTBEAT_TIME", "phx_planted"),
        ("POSTHOG_HOST", "phx_planted"),
    ],
)
def test_message_does_not_repeat_a_secret_from_the_wrong_variable(variable, value):
    """What is wrong is shown only where it can be no secret."""
    with pytest.raises(ConfigError, match=f"^{variable} is not a") as raised:
        Config.resolve({}, {variable: value})

    assert "planted" not in str(raised.value)


@pytest.mark.parametrize(("value", "shown"), [(None, "–"), (1.5, "1.5"), ("production", "production")])
def test_other_values_are_shown(value, shown):
    """What is no secret is shown as it is."""
    assert ROWS["environment"].show(value) == shown


@pytest.mark.parametrize(
    "host", ["https://eu.posthog.com", "http://localhost:8000", "https://h/ingest", "http://[::1]:8000"]
)
def test_address_is_accepted(host):
    """Cloud, self-hosted and local addresses are fine."""
    assert Config.resolve({"host": host}, {}).host == host


@pytest.mark.parametrize(
    "host",
    [
        "eu.posthog.com",
        "ftp://eu.posthog.com",
        "https://",
        "https://h?x=1",
        "https://h?",
        "https://h#x",
        "https://h:port",
        "https://h:99999",
        "https://[::1",
    ],
)
def test_what_is_no_address_is_refused(host):
    """A host without scheme or name, or with query or fragment, is refused by name."""
    with pytest.raises(ConfigError, match=r"^OTEL_POSTHOG_HOST=.* is not an address such as https://"):
        Config.resolve({}, {"OTEL_POSTHOG_HOST": host})


@pytest.mark.parametrize(
    "host",
    ["https://user:planted@h", "ftp://user:planted@h", "https://user:planted@h?x=1", "https://planted@h"],
)
def test_credentials_in_the_host_are_refused_unseen(host):
    """A host with credentials is refused, and the message does not repeat them."""
    with pytest.raises(ConfigError) as caught:
        Config.resolve({}, {"OTEL_POSTHOG_HOST": host})

    assert str(caught.value) == "OTEL_POSTHOG_HOST must not hold a user name or password."


@pytest.mark.parametrize("host", ["https://h?token=planted", "https://h#planted"])
def test_secrets_in_a_refused_host_are_not_repeated(host):
    """Query and fragment of a refused host are not in the message."""
    with pytest.raises(ConfigError) as caught:
        Config.resolve({"host": host}, {})

    assert "planted" not in str(caught.value)


def test_each_setting_is_documented():
    """The page about settings has one row for each, with all columns as in the table."""

    def shown(row):
        default = str(row.default).lower() if row.type is bool else row.default
        return [
            f"`{row.name}`",
            ", ".join(f"`{variable}`" for variable in row.env),
            "–" if row.default is None else f"`{default}`",
            row.unit or "–",
            row.help,
        ]

    assert _documented_rows() == [shown(row) for row in SETTINGS]


@pytest.mark.parametrize("switch", KILL_SWITCHES)
def test_kill_switches_are_documented(switch):
    """The page about settings tells both ways to switch off."""
    section = DOCS.read_text().partition("## Switching off")[2]

    assert f"`{switch}=1`" in section


def test_units_stand_in_the_names():
    """Each number has a unit; seconds and bytes are also part of the name."""
    expected = {"seconds": "_s", "bytes": "_bytes"}

    assert [row.name for row in NUMBERS if not row.unit] == []
    assert [row.name for row in SETTINGS if not row.name.endswith(expected.get(row.unit, ""))] == []


def test_each_variable_belongs_to_one_setting():
    """No environment variable feeds two settings, and each is spelt as variables are."""
    variables = [variable for row in SETTINGS for variable in row.env]

    assert len(set(variables)) == len(variables)
    assert all(re.fullmatch(r"[A-Z0-9_]+", variable) for variable in variables)


@pytest.mark.parametrize("prefix", ["FastFlow", "", "a-b", "x" * 41, "$acme"])
def test_marker_prefix_has_to_make_a_marker(prefix):
    """A prefix from which no marker can be made is refused, since test events would leave unmarked."""
    with pytest.raises(ConfigError, match="marker_prefix"):
        Config.resolve({"marker_prefix": prefix}, {})


def test_variables_of_opentelemetry_do_not_choose_the_exit():
    """Where the host's own exporter sends is no setting of ours, however wrong it may be for us."""
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "no address",
        "OTEL_EXPORTER_OTLP_HEADERS": "none",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "deflate",
    }

    config = Config.resolve({}, variables)

    assert (config.send_to, config.collector_endpoint) == ("posthog", "http://localhost:4318/v1/logs")
    assert set(config.sources.values()) == {"default"}


@pytest.mark.parametrize("given", [{"collector_endpoint": "https://ours.example/v1/logs"}, {}])
def test_headers_of_the_host_are_for_the_address_of_the_host(given):
    """The key of a vendor to which the host itself exports goes to that vendor alone."""
    host = {"OTEL_EXPORTER_OTLP_HEADERS": "api-key=secret", "OTEL_EXPORTER_OTLP_COMPRESSION": "deflate"}
    if given:
        host |= {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://vendor.example"}

    config = Config.resolve({"send_to": "collector", **given}, host)

    assert (config.collector_headers, config.collector_compression) == (None, "gzip")


@pytest.mark.parametrize(
    ("variables", "endpoint"),
    [
        ({}, "http://localhost:4318/v1/logs"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://base:4318/"}, "http://base:4318/v1/logs"),
        ({"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://logs:4318/x"}, "http://logs:4318/x"),
        ({"OTEL_POSTHOG_COLLECTOR_ENDPOINT": "http://own:1/v1/logs"}, "http://own:1/v1/logs"),
    ],
    ids=["default", "base", "logs", "own"],
)
def test_collector_is_found_as_opentelemetry_finds_it(variables, endpoint):
    """Our own variable wins, then the one for logs as it is, then the base with the path of logs."""
    fallbacks = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://base:4318", **variables} if variables else {}

    assert Config.resolve({"send_to": "collector"}, fallbacks | variables).collector_endpoint == endpoint


def test_file_wins_over_opentelemetrys_variables():
    """A file is about this library, and these variables are about another exporter."""
    config = Config.resolve(
        environ={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://base:4318"},
        file={"send_to": "collector", "collector_endpoint": "http://file:1/v1/logs"},
    )

    assert (config.collector_endpoint, config.sources["collector_endpoint"]) == (
        "http://file:1/v1/logs",
        "file",
    )


@pytest.mark.parametrize("text", ["Bearer planted", "a b=planted", "x=planted%0aother", "x=%ff-planted"])
def test_headers_that_are_no_pairs_are_refused_without_their_value(text):
    """Headers hold tokens, so the error names the setting alone."""
    with pytest.raises(ConfigError, match="OTEL_POSTHOG_COLLECTOR_HEADERS are not pairs") as caught:
        Config.resolve({}, {"OTEL_POSTHOG_COLLECTOR_HEADERS": text})

    assert "planted" not in str(caught.value)


def test_headers_are_decoded():
    """Values are percent-encoded, as OpenTelemetry writes them."""
    assert headers_of("Authorization=Bearer%20a%3Db, x-tenant=acme") == {
        "authorization": "Bearer a=b",
        "x-tenant": "acme",
    }
