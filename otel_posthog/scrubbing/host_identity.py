"""Remove the names of this host and of the account that runs the process.

Addresses need no list: every address is removed by its form, and asking for one's own would ask a name
server. The names are collected with the first text, on an exporter's thread, without the network.
"""

from __future__ import annotations

import getpass
import os
import re
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .patterns import Rule, rule, word_list

with suppress(ImportError):  # Windows has none
    import pwd  # noqa: F401 - else `getpass` imports it with the first text, see `patterns._lines`

# Shorter ones are parts of ordinary words: `max`, `vm`
_MIN_NAME_CHARS = 4
_MIN_FOLDER_PARTS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Names that identify this host: hosts, users, home folders."""

    hosts: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    homes: frozenset[str] = frozenset()

    def rules(self) -> tuple[Rule, ...]:
        """Return one rule for each kind of name that there is."""
        hosts = {name for host in self.hosts for name in (host, host.partition(".")[0])}
        short = [host for host in self.hosts if not _is_distinct(host) and host != "localhost"]
        kinds = (
            ("home", "", filter(_is_own_folder, self.homes), r"(?![A-Za-z0-9_-])"),
            ("host", r"(?<![A-Za-z0-9])", filter(_is_distinct, hosts), r"(?![A-Za-z0-9])"),
            ("user", r"(?<![A-Za-z0-9])", filter(_is_distinct, self.users), r"(?![A-Za-z0-9])"),
            ("host", r"(?<=[\w-]@)", short, r"(?![\w.-])"),  # only after a user's name, as in `max@db`
        )
        return tuple(
            rule(name, (), f"(?i){before}(?:{alternatives}){after}")
            for name, before, names, after in kinds
            if (alternatives := _alternatives(names))
        )


@cache
def this_machine() -> Machine:
    """Return the names of the host that this process runs on."""
    hosts = {socket.gethostname(), os.environ.get("HOSTNAME", ""), os.environ.get("COMPUTERNAME", "")}
    users = {os.environ.get(name, "") for name in ("USER", "LOGNAME", "USERNAME", "SUDO_USER")}
    homes = {os.environ.get("HOME", ""), os.environ.get("USERPROFILE", "")}
    try:
        users.add(getpass.getuser())
        homes.add(str(Path.home()))
    except (KeyError, OSError, RuntimeError, ImportError):  # a user id without an account, as in containers
        pass
    return Machine(
        hosts=frozenset(hosts - {""}), users=frozenset(users - {""}), homes=frozenset(homes - {""})
    )


def _is_distinct(name: str) -> bool:
    return len(name) >= _MIN_NAME_CHARS and name.lower() not in word_list("generic") and not name.isdigit()


def _is_own_folder(home: str) -> bool:
    # Many hosts have `/`, `/root` and `/app`, so they identify nobody.
    parts = [part for part in re.split(r"[\\/]", home) if part]
    return len(parts) >= _MIN_FOLDER_PARTS and parts[-1].lower() not in word_list("generic")


def _alternatives(texts: Iterable[str]) -> str:
    # The longest first, since the first alternative that fits wins.
    return "|".join(re.escape(text) for text in sorted(texts, key=len, reverse=True))
