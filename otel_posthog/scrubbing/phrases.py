"""What stands beside a telling name and is no secret: placeholders, and words about the value."""

from __future__ import annotations

import re

SCHEMES = frozenset({"Bearer", "Basic", "Token", "Digest", "bearer", "basic", "token"})
_PLACEHOLDER = re.compile(
    r"\?|\$\d{1,3}|%[srdifx]|%\(\w{1,60}\)s|:[a-z_]{1,40}|\$?\{[A-Za-z_.!:()\[\]'\"]{0,60}\}|\$[A-Z_]{2,60}|"
    r"\$?\{\{ ?[A-Za-z_.]{1,60}(?:\(\))? ?\}\}"
    r"|f?[\"'`]?(?:bearer|basic|token) (?:\$?\{[a-z_.]{1,40}\}|%s|<[a-z_ -]{1,40}>)`?"
    r"|\$\{[a-z_]{1,60}:[-?]\}|!(?:vault|secret|env|ref|sub|getatt)(?: [a-z_.-]{1,60})?"
    r"|[*•xX.…]{2,60}|<[a-z][a-z _-]{1,40}>|-+|\(\)|\[\]|\{\}|<class '[\w.]{1,80}'>|@p\d{1,3}"
    r"|\[(?:Filtered|REDACTED|redacted|FILTERED|hidden)\]|<?(?:redacted|hidden|masked|unset)>?"
    r"|SecretStr\('\*{1,20}'\)|",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_][^\W\d_'’-]*(?:['’-][^\W\d_]+)*|\d+")
_BETWEEN = re.compile(r"[\s.!?()\-–'\"<>=]*")
_MAX_STATUS_CHARS = 160
_MAX_NUMBER_CHARS = 3

# Words in which programs speak about a value: a phrase made of nothing else is kept.
_STATUS_WORDS_TEXT = """
a an the this that these it its is are was were be been being has have had does do did can cannot can't
could may might must should will would not no none null nil true false yes on off and or of for to from
in at by with as if when than then only also too very more less least most field value input key name
string str int integer number float bool boolean bytes byte dict list object type class optional any text
char chars character characters letter letters digit digits symbol symbols uppercase lowercase upper
lower case special word length size format pattern header parameter argument option setting variable
environment config configuration file database server client user account login request response required
missing empty blank invalid valid wrong incorrect correct bad unknown unset undefined unexpected expected
expecting got given provided supplied specified received set unsupported mismatch mismatched match
matches matching failed failure fail error denied refused rejected revoked expired expires expire expiry
disabled enabled inactive active unavailable available found absent malformed unauthorized
unauthenticated forbidden locked blocked closed open opened timeout timed out lost reset changed updated
created deleted removed used unused already exists exist before after yet again later now please try
check contact admin administrator enter provide use short long shorter longer weak strong common simple
similar minimum maximum min max ensure contain contains verification verify signature authentication
authorization permission permissions scope scopes issuer audience password passwords token tokens secret
credential credentials cookie cookies session api id issued entirely numeric differ different same syntax
supported deprecated recommended identical confirmation confirm necessary needed ignored skipped pending
authenticated authorized allowed permitted read write retry limit exceeded per second seconds minute minutes
hour hours day days old new current previous next
first last one two three both either another other
"""
_STATUS_WORDS = frozenset(_STATUS_WORDS_TEXT.split())
_SURE_TEXT = """
none null nil true false yes no str int bool bytes string integer float dict list object secretstr
optional required missing empty blank invalid valid wrong incorrect unknown unset undefined expired
revoked denied refused rejected disabled enabled failed forbidden unauthorized locked ok malformed
requires takes needs expects accepts
mismatch absent timeout closed ignored pending read write erforderlich fehlt ungültig abgelaufen falsch leer
unbekannt gesperrt requis manquant invalide expiré vide inconnu obligatorio requerido inválido inválida
caducado vacío
"""
_SURE = frozenset(_SURE_TEXT.split())


# What sentences are made of and passphrases are not.
_SENTENCE_WORDS_TEXT = """
while during because since so there here which who what where how why you we they he she me my your our
their them us his her let get gets getting use uses using see via into out over under about between
und oder der die das den dem ein eine ist sind war nicht kein keine mit von für auf bei beim zu wurde
le la les des du de une est pas et ou dans pour par avec sur ne que qui el los las un una es y en con por
para se il lo gli e di da non per
"""
_SENTENCE_WORDS = _STATUS_WORDS | frozenset(_SENTENCE_WORDS_TEXT.split())
_PHRASE_WORD = re.compile(r"[ ]([^\W\d_]{3,14})(?![\w'’=:(\[-])")
_MIN_FURTHER_WORDS = 3


def end_of_passphrase(text: str, at: int) -> int:
    """Return where the words end that go on a passphrase whose first word ends there."""
    end, count = at, 0
    while (word := _PHRASE_WORD.match(text, end)) and word[1].lower() not in _SENTENCE_WORDS:
        end, count = word.end(), count + 1
    return end if count >= _MIN_FURTHER_WORDS else at


def is_sentence_word(word: str) -> bool:
    """Tell whether the word is one of those that sentences are made of."""
    return word.lower() in _SENTENCE_WORDS


def is_placeholder(value: str) -> bool:
    """Tell whether the text only stands for a value: `?`, `$1`, `%(x)s`, `{token}`, `****`."""
    return _PLACEHOLDER.fullmatch(value) is not None


def is_status(value: str) -> bool:
    """Tell whether the text is made of nothing but words about a value: `must not be empty`."""
    if not value or len(value) > _MAX_STATUS_CHARS:
        return False
    words, end = [], 0
    for match in _WORD.finditer(value):
        if not _BETWEEN.fullmatch(value, end, match.start()):
            return False
        words.append(match[0].lower())
        end = match.end()
    if not words or not _BETWEEN.fullmatch(value, end):
        return False
    if len(words) == 1:
        return words[0] in _SURE
    return all(word in _STATUS_WORDS or (word.isdigit() and len(word) <= _MAX_NUMBER_CHARS) for word in words)
