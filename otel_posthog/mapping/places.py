"""Where a file of a program lies: the same answer on every installation, from its path and module.

Installed packages lie below `site-packages`, the standard library below `lib/python3.x`, and a product
where it was put; so its top-level packages may be named (`product_roots`).
"""

from __future__ import annotations

import linecache
import sys
from functools import lru_cache
from types import ModuleType

NO_ROOTS: frozenset[str] = frozenset()
_OUTSIDE = ("/site-packages/", "/dist-packages/")
_STDLIB = linecache.__file__.replace("\\", "/").rpartition("/")[0] + "/"


def relative_filename(filename: str, module: str) -> str:
    """Return the file relative to the root of its top-level package, or its bare name."""
    if filename.startswith("<"):
        return filename
    parts = filename.replace("\\", "/").split("/")
    packages = module.split(".")
    depth = len(packages) + (1 if parts[-1] == "__init__.py" else 0)
    if len(packages) > 1 and parts[-depth : -depth + 1 or None] == packages[:1]:
        return "/".join(parts[-depth:])
    return parts[-1]


def is_in_app(filename: str, module: str = "", roots: frozenset[str] = NO_ROOTS) -> bool:
    """Tell whether a frame is the product's own code, wherever its roots are installed.

    Without a root it is what is neither installed nor of the standard library nor frozen.
    """
    path = filename.replace("\\", "/")
    if roots and _top_level(path, module, roots) in roots:
        return True
    if path.startswith("<") or _below_library(path) is not None:
        return False
    return not path.startswith(_STDLIB)


def module_of(filename: str, roots: frozenset[str] = NO_ROOTS) -> str:
    """Return the module of a file of which the path alone is known, empty where it cannot be told."""
    return _loaded_modules_name(filename) or _module_by_path(filename.replace("\\", "/"), roots)


def _top_level(path: str, module: str, roots: frozenset[str]) -> str:
    known = module if module and module != "__main__" else _module_by_path(path, roots)
    return known.partition(".")[0]


def _module_by_path(path: str, roots: frozenset[str]) -> str:
    below = _below_library(path)
    if below is None:
        if path.startswith(_STDLIB):
            below = path.removeprefix(_STDLIB)
        else:
            parts = path.split("/")
            begins = [place for place, part in enumerate(parts[:-1]) if part in roots]
            if not begins:
                return ""
            below = "/".join(parts[begins[-1] :])
    return _dotted(below)


def _below_library(path: str) -> str | None:
    """Return the path below the folder of installed packages or of a standard library, None outside."""
    for folder in _OUTSIDE:
        _, found, below = path.rpartition(folder)
        if found:
            return below
    _, found, below = path.rpartition("/lib/python3")
    return below.partition("/")[2] if found else None


def _dotted(below: str) -> str:
    stem, _, ending = below.rpartition(".")
    if ending not in ("py", "pyw", "pyc"):
        return ""
    return stem.replace("/", ".").removesuffix(".__init__")


@lru_cache(maxsize=1024)
def _loaded_modules_name(filename: str) -> str:
    """Return the name under which this process has loaded the file, empty if it has not."""
    loaded: list[tuple[str, object]] = list(sys.modules.items())  # a program may put anything there
    for name, module in loaded:
        if isinstance(module, ModuleType) and vars(module).get("__file__") == filename:
            return name
    return ""
