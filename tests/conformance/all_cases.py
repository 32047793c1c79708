"""All cases, in one list."""

from __future__ import annotations

from . import cases_connections, cases_faults, cases_scope, cases_send, cases_tasks
from .harness import CASES

MODULES = (cases_scope, cases_send, cases_faults, cases_tasks, cases_connections)
"""Importing them has filled the list."""

__all__ = ["CASES", "MODULES"]
