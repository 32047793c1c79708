"""How a name and its value are joined: ``=``, ``:``, ``=>``, `` is ``, quotes and brackets around them."""

from __future__ import annotations

import re

# Some names are two words in prose and in headings; a lone `key` or `id` would be innocent.
_FIRST_WORD = (
    r"(?:(?:api|access|private|session|pass(?=[ ](?:word|phrase|code|key))|connection|client|secret|auth|"
    r"signing|encryption|master|license|credit|"
    r"account|security|verification|confirmation|phone|mobile|first|last|full|user|mail|birth|"
    r"social|one.time|card(?=[ ](?:number|no|nr|code|holder|pin|cv))|"
    r"bank|seed|recovery|backup|passport|national|tax|driver|insurance|web)[ ](?=\w))?"
)
# What is said about a value before it comes: `access_token is not valid: '…'`, `token was …`.
_SAID_WORD = (
    r"[ ](?:is|was|are|were|set|reset|changed|equals?|to|not|valid|invalid|wrong|incorrect|mismatch|expected|"
    r"got|rejected|refused|denied|too|short|long|weak|given|provided|received|unknown|bad|expired|revoked|"
    r"failed|does|match|found|value|used|leaked|of|from|now|again|format|with|must|be|ist|war|lautet|falsch):?"
)
_SAID = (
    rf"(?P<said>(?:{_SAID_WORD}){{0,6}}[ ](?=[\"'`])"
    r"|[ ]?[(\[](?!scrubbed:)(?![A-Za-z_]{1,40}=)(?=[\"'`]?[^\s()\[\]\"'`]{6,200}[\"'`]?[)\]])"
    rf"|(?P<told>(?:{_SAID_WORD}){{1,6}}[ ](?=[^\s\"'`()\[\]{{}}<>-][^\s()\[\]{{}}<>]{{5}})))"
)
NAMED = re.compile(
    r"(?<![\w.\-])(?<!\[scrubbed:)"
    rf"(?P<name>mot[ ]de[ ]passe|{_FIRST_WORD}[\w.\-]++)"
    r"(?P<sign>[\\\"'\])*`»”]{0,8}(?:\[\])?"
    r"(?:[ ]?:[ ]?(?:str|bytes|int|float|Any|SecretStr|Optional|Union|Final|ClassVar|Annotated|"
    r"Literal|Sequence|list|tuple|dict|"
    r"(?:t|typing|pydantic)\.[A-Za-z]{1,30})(?:\[[^\n=]{0,80}\])?"
    r"(?:[ ]?\|[ ]?[A-Za-z]{1,30}(?:\[\w{1,30}\])?){0,3}[ ]=[ ]"
    r"|\s{0,20}(?:=>|->|:=|={1,3}|:(?!:)|[\uff1d\uff1a]|%3[AaDd])[ \t\u00a0]{0,20}"
    r"|(?<=[\"']),\s{0,3}(?=b?[\"'])"  # a pair in a list, as headers and command lines are written
    r"|(?:,[ ]?|[ ]\.[ ])(?=\"[^\"\n]{0,200}\"[)}])"  # of Erlang and Lisp
    rf"|{_SAID}"
    r"|[ \t]{1,3}(?=[^\s\-])"  # an option of a command line
    r"|>))",
    re.IGNORECASE,
)
