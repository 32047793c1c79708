"""Which names say that their value is secret (R21)."""

from __future__ import annotations

import pytest

from otel_posthog.scrubbing.keys import is_sensitive
from otel_posthog.scrubbing.patterns import word_list

SENSITIVE_NAMES = [
    "password",
    "PASSWORD",
    "dbPassword",
    "db_password",
    "password2",
    "pass-word",
    "pass.word",
    "pass word",
    "p_a_s_s_w_o_r_d",
    "secret",
    "clientSecret",
    "SECRETS",
    "top-secret-thing",
    "api_key",
    "apiKey",
    "APIKey",
    "API-KEY",
    "api.key",
    "x api key",
    "APIKEY",
    "token",
    "access_token",
    "accessToken",
    "tokens",
    "csrfmiddlewaretoken",
    "Authorization",
    "Set-Cookie",
    "sessionId",
    "aws_secret_access_key",
    "private-key",
    "pwd",
    "userPwd",
    "user.pin",
    "jwt",
    "DSN",
    "e-mail.email",
    "dbpass",
    "ADMINPWD",
]
INNOCENT = [
    "name",
    "success",
    "max_tokens",
    "maxTokens",
    "MAX-TOKENS",
    "prompt_tokens",
    "tokenizer",
    "tokenization",
    "secretary",
    "author",
    "authority",
    "shipping",
    "discard",
    "keyboard",
    "key",
    "monkey",
    "spin",
    "opinion",
    "compass",
    "passenger",
    "bypass",
    "lowpass",
    "sideways",
    "assess",
    "sessions_like",
    "",
    "$ip",
    "ünïcode",
]


@pytest.mark.parametrize("name", SENSITIVE_NAMES)
def test_sensitive_name_is_recognised(name):
    """Case, separators and neighbours do not hide a sensitive word."""
    assert is_sensitive(name)


@pytest.mark.parametrize("name", INNOCENT)
def test_innocent_name_is_left_alone(name):
    """Names that only look alike are not sensitive."""
    assert not is_sensitive(name)


@pytest.mark.parametrize("name", sorted(word_list("sensitive_parts") | word_list("sensitive_words")))
def test_each_entry_of_the_lists_counts(name):
    """Each part and each word of the lists is sensitive by itself."""
    assert is_sensitive(name)


@pytest.mark.parametrize("name", sorted(word_list("innocent_names")))
def test_each_exemption_is_needed_and_exact(name):
    """An exempt name would be sensitive without its exemption, and is so with anything added."""
    assert any(part in name for part in word_list("sensitive_parts"))
    assert not is_sensitive(name)
    assert is_sensitive(f"{name}_x")
