"""Texts without a secret, among them many that look as if they had one; one to a line."""

from __future__ import annotations

from pathlib import Path

INNOCENTS = Path(__file__).with_name("innocents.txt").read_text(encoding="utf-8").splitlines()
