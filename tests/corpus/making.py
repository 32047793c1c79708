"""Random parts of fake secrets; everything is made from a seed, nothing is real."""

from __future__ import annotations

import base64
import json
import random
import string
from urllib.parse import quote

LETTERS = string.ascii_letters
ALNUM = LETTERS + string.digits
BASE64URL = ALNUM + "-_"
LOWER = string.ascii_lowercase + string.digits
HEX = "0123456789abcdef"


class Maker:
    """Random texts from one seed."""

    def __init__(self, seed: int | str) -> None:
        self._random = random.Random(seed)

    def of(self, letters: str, count: int) -> str:
        """Return a text of these letters with at least one digit and one letter, if there are any."""
        while True:
            text = "".join(self._random.choices(letters, k=count))
            if letters.isalpha() or letters.isdigit() or not (text.isalpha() or text.isdigit()):
                return text

    def one(self, options):
        return self._random.choice(options)

    def number(self, low: int, high: int) -> int:
        return self._random.randint(low, high)

    def password(self) -> str:
        """Return what a person might choose, with letters and digits."""
        start = self.of(string.ascii_uppercase, 1) + self.of(string.ascii_lowercase, 3)
        return f"{start}{self.of(ALNUM, 8)}{self.number(10, 99)}"

    def uuid(self) -> str:
        return "-".join(self.of(HEX, count) for count in (8, 4, 4, 4, 12))

    def base64(self, count: int) -> str:
        return base64.b64encode(self._random.randbytes(count)).decode()

    def name(self) -> str:
        return f"{self.of(string.ascii_lowercase, 5)}.{self.of(string.ascii_lowercase, 7)}"

    def card(self) -> str:
        body = self.one(["4", "51", "37"]) + self.of(string.digits, 16)
        body = body[: 14 if body.startswith("37") else 15]
        return body + next(d for d in string.digits if _luhn(body + d))

    def iban(self) -> str:
        rest = self.of(string.digits, 18)
        check = 98 - int(f"{rest}131400") % 97
        return f"DE{check:02}{rest}"


def _luhn(digits: str) -> bool:
    total = sum(map(int, digits[-1::-2]))
    return (total + sum(sum(divmod(int(d) * 2, 10)) for d in digits[-2::-2])) % 10 == 0


def encodings(secret: str) -> set[bytes]:
    """Return every form in which the secret could stand in a body."""
    raw = secret.encode()
    forms = {
        raw,
        quote(secret, safe="").encode(),
        quote(secret).encode(),
        json.dumps(secret)[1:-1].encode(),
        json.dumps(json.dumps(secret)[1:-1])[1:-1].encode(),
        repr(secret)[1:-1].encode(),
        raw.hex().encode(),
        raw.hex().upper().encode(),
    }
    for shift in range(
        3
    ):  # where the secret begins within a group of three bytes, only its own part is fixed
        encoded = base64.b64encode(b"\0" * shift + raw).decode().rstrip("=")
        core = encoded[(0, 2, 3)[shift] : len(encoded) - (1 if (shift + len(raw)) % 3 else 0)]
        forms |= {core.encode(), core.replace("+", "-").replace("/", "_").encode()}
    return {form for form in forms if len(form) >= 4}
