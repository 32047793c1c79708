"""Layout of the package: files, lines, floors of imports, comments.

Floors are the modules in the longest chain of imports, where modules that import each other count as one.
Imports inside functions count, those under `TYPE_CHECKING` do not. The first number does not follow an
import of a package's `__init__`, which only passes names on; the second does. A comment line holds only a
comment. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import ast
import json
import statistics
from pathlib import Path

ROOT = Path(__file__).parent.parent / "otel_posthog"
SHORT_LINES, LONG_LINES = 60, 400
FILES = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}


def _statements(node):
    """Yield the import statements that can run."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield node
    is_typing = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
    for child in node.orelse if is_typing else ast.iter_child_nodes(node):
        yield from _statements(child)


def _imports(module, path):
    """Return the modules of the package that one module imports."""
    names = set()
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for statement in _statements(ast.parse(path.read_text())):
        inner = [alias.name for alias in statement.names]
        if isinstance(statement, ast.ImportFrom):
            above = package[: len(package) - statement.level + 1] if statement.level else []
            base = ".".join(filter(None, [*above, statement.module]))
            inner = [full if (full := f"{base}.{name}") in FILES else base for name in inner]
        names.update(inner)
    return names & FILES.keys() - {module}


def _reached(graph, start):
    found, waiting = set(), [start]
    while waiting:
        waiting += (new := graph[waiting.pop()] - found)
        found |= new
    return found


def floors(graph):
    """Return the length of the longest chain; a cycle is one link."""
    reached = {module: _reached(graph, module) for module in graph}
    heights = {}
    # A module reaches more than those below it, so each comes after what it imports.
    for module in sorted(graph, key=lambda module: len(reached[module] | {module})):
        below = [other for other in reached[module] if module not in reached[other]]
        heights[module] = 1 + max((heights[other] for other in below), default=0)
    return max(heights.values())


def measure():
    """Return the figures by name."""
    texts = [path.read_text().splitlines() for path in FILES.values()]
    lengths = [len(text) for text in texts]
    graph = {module: _imports(module, path) for module, path in FILES.items()}
    fronts = {module for module, path in FILES.items() if path.name == "__init__.py"}
    comments = sum(line.lstrip().startswith("#") for text in texts for line in text)
    return {
        "files": len(FILES),
        "files in the root": len(list(ROOT.glob("*.py"))),
        "lines": sum(lengths),
        "median lines per file": statistics.median(lengths),
        "import floors": floors({module: names - fronts for module, names in graph.items()}),
        "import floors through __init__": floors(graph),
        "comment lines, %": round(100 * comments / sum(lengths), 2),
        "files under 60 lines": sum(length < SHORT_LINES for length in lengths),
        "files over 400 lines": sum(length > LONG_LINES for length in lengths),
    }


def main():
    """Print the table, or the same as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    if parser.parse_args().json:
        print(json.dumps(measure(), indent=2))
        return
    print("| otel_posthog | |\n|---|---:|")
    print(*(f"| {name} | {value:,} |" for name, value in measure().items()), sep="\n")


if __name__ == "__main__":
    main()
