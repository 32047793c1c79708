"""The names of this machine and of whoever runs the process, taken out wherever they appear.

Addresses need no list: every address is taken out by its look. Collected once, when the first text is
scrubbed, which is on an exporter's thread; nothing is looked up over the network.
"""

from __future__ import annotations

import getpass
import os
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .marks import mark

# Names that say nothing, because very many machines have them, or that are words of their own.
_GENERIC_TEXT = """
admin administrator agent alpine anonymous api app application apps backend base build builder buildkit
cache celery centos client cloud cluster computer container containers controller database db debian default
demo deploy deployer desktop develop developer development devcontainer django docker edge fedora frontend
gateway github gitlab guest gunicorn home homeassistant host hostname instance jenkins kali kubernetes
laptop linux local localhost machine macbook macbook-pro main master minikube mongodb mysql nginx node
nobody nonroot nuxt operator oracle owner pipeline podman postgres postgresql primary prod production
project proxy public python rabbitmq raspberrypi redis release replica root runner runners sandbox scheduler
server service sshd staging storage student support system task tasks telemetry test testing tester tests
ubuntu uvicorn user username users vagrant virtual vscode web webapp website windows work worker workers
workspace workstation www www-data
"""
GENERIC = frozenset(_GENERIC_TEXT.split())
_MIN_NAME_CHARS = 4  # shorter ones stand in ordinary words: `max`, `vm`
_MIN_FOLDER_PARTS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What names this machine: hosts, users, home folders."""

    hosts: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    homes: frozenset[str] = frozenset()

    def rules(self) -> list[tuple[str, re.Pattern[str], str]]:
        """Return for each kind a rule's name, what to look for, and what to put in its place."""
        kinds = (
            ("home", [home for home in self.homes if _is_own_folder(home)]),
            ("host", [host for host in _with_first_labels(self.hosts) if _is_telling(host)]),
            ("user", [user for user in self.users if _is_telling(user)]),
        )
        found = [(name, _any_of(texts, whole=name != "home"), mark(name)) for name, texts in kinds if texts]
        short = [host for host in self.hosts if not _is_telling(host) and host != "localhost"]
        if short:
            after_user = re.compile(rf"(?<=[\w-]@)(?:{_alternatives(short)})(?![\w.-])", re.IGNORECASE)
            found.append(("host", after_user, mark("host")))
        return found


@cache
def this_machine() -> Machine:
    """Return the names of the machine that this process runs on."""
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


def _is_telling(name: str) -> bool:
    return len(name) >= _MIN_NAME_CHARS and name.lower() not in GENERIC and not name.isdigit()


def _is_own_folder(home: str) -> bool:
    """Tell a person's folder from `/`, `/root` and `/app`."""
    parts = [part for part in re.split(r"[\\/]", home) if part]
    return len(parts) >= _MIN_FOLDER_PARTS and parts[-1].lower() not in GENERIC


def _with_first_labels(hosts: Iterable[str]) -> set[str]:
    return {name for host in hosts for name in (host, host.partition(".")[0])}


def _any_of(texts: Iterable[str], *, whole: bool) -> re.Pattern[str]:
    edges = (r"(?<![A-Za-z0-9])", r"(?![A-Za-z0-9])") if whole else ("", r"(?![A-Za-z0-9_-])")
    return re.compile(f"{edges[0]}(?:{_alternatives(texts)}){edges[1]}", re.IGNORECASE)


def _alternatives(texts: Iterable[str]) -> str:
    return "|".join(re.escape(text) for text in sorted(texts, key=len, reverse=True))
