"""Fuzz the scrubber with atheris: ``python tests/fuzz/scrubbing.py -runs=1000000``.

For any text: scrubbing ends, does not raise, gives a text that can be sent, changes nothing
when it is done again, and takes out a password that stands on a line of its own behind the text.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["otel_posthog.scrubbing"]):
    from otel_posthog.scrubbing import Machine, Scrubber

SECRET = "Planted7secret9"
SCRUBBER = Scrubber(machine=Machine(hosts=frozenset({"mercury-7"}), users=frozenset({"mmuster"})))
ATOMS = (
    "password",
    "token",
    "api_key",
    "=",
    ":",
    "'",
    '"',
    "\\",
    "\\n",
    "\\u0040",
    "%40",
    "%3D",
    "://",
    "@",
    "?",
    "/",
    "#",
    "[",
    "]",
    "(",
    ")",
    "{",
    "}",
    "<",
    ">",
    ",",
    ";",
    "&",
    "&quot;",
    "\n",
    " ",
    "-",
    "--",
    "|",
    "+49 170",
    "1.2.3.4",
    "::1",
    "eyJhbGci",
    "Bearer ",
    "Cookie: ",
    "VALUES (",
    "[parameters: (",
    "Key (a)=(",
    "input_value=",
    "-----BEGIN A-----",
    "ghp_abcdefghijklm1",
    "4111111111111111",
    "DE89370400440532013000",
    "x@y.de",
    "/home/max",
    "C:\\Users\\max",
    "mysql -pabc",
    "[scrubbed:",
    "cGFzc3dvcmQ9YQ==",
    "70617373",
)


def check(data: bytes) -> None:
    """Run one input."""
    provider = atheris.FuzzedDataProvider(data)
    pieces = []
    while provider.remaining_bytes():
        is_atom = provider.ConsumeIntInRange(0, 2)
        pieces.append(provider.PickValueInList(list(ATOMS)) if is_atom else provider.ConsumeUnicode(8))
    text = "".join(pieces)
    scrubbed = SCRUBBER.text(text)
    scrubbed.encode()
    assert SCRUBBER.text(scrubbed) == scrubbed, (text, scrubbed)
    SCRUBBER.source(text)
    assert SECRET not in SCRUBBER.text(f"{text}\n\npassword={SECRET}"), text


def main() -> None:
    """Let libFuzzer run; every option is its own."""
    atheris.Setup([sys.argv[0], "-timeout=60", "-max_len=400", "-verbosity=0", *sys.argv[1:]], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
