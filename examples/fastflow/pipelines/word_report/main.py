"""Counts words, with a package of its own."""

from plural import plural

TEXT = "Nothing leaves before somebody has said yes"

print(plural(len(TEXT.split()), "word"))
