"""docs/architecture.md says what the package is, and docs/adr has an index of what was decided.

The table of modules is made of their docstrings: `python tests/test_architecture.py --write` after a change.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "otel_posthog"
PAGE = ROOT / "docs" / "architecture.md"
RECORDS = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))
MAX_WORDS = 1_500  # of the page, without the table
RECORD_WORDS = range(80, 251)
_BEGIN, _END = "<!-- modules: begin -->", "<!-- modules: end -->"


def module_table() -> str:
    """Return a row for each room and each module, in the order of the layer contract."""
    rows = ["| room or module | what it is |", "|---|---|"]
    for name in sorted(_top_level(), key=_by_layer(_layers())):
        rows += _rows(name)
    return "\n".join(rows)


def _top_level() -> Iterator[str]:
    for path in PACKAGE.iterdir():
        if path.suffix == ".py" and path.stem != "__init__":
            yield path.stem
        elif (path / "__init__.py").exists():
            yield path.name


def _layers() -> list[str]:
    """Return the names in the package's root that the layer contract orders, from top to bottom."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    contract = next(found for found in tools["importlinter"]["contracts"] if found["type"] == "layers")
    names = re.findall(r"[\w.]+", " ".join(contract["layers"]))
    return [name.removeprefix(f"{PACKAGE.name}.").partition(".")[0] for name in names]


def _by_layer(layers: list[str]):
    return lambda name: (layers.index(name) if name in layers else len(layers), name)


def _rows(name: str) -> Iterator[str]:
    room = PACKAGE / name
    if not room.is_dir():
        yield _row(f"`{name}`", room.with_suffix(".py"))
        return
    yield _row(f"**`{name}/`**", room / "__init__.py")
    for path in sorted(room.rglob("*.py")):
        inner = path.relative_to(PACKAGE).with_suffix("")
        if path.name != "__init__.py":
            yield _row(f"`{'.'.join(inner.parts)}`", path)


def _row(shown: str, path: Path) -> str:
    first_line = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
    return f"| {shown} | {first_line.replace('|', '/')} |"


def _split_page() -> tuple[str, str, str]:
    before, _, rest = PAGE.read_text().partition(_BEGIN)
    table, _, after = rest.partition(_END)
    return before, table.strip(), after


def test_table_is_what_docstrings_say():
    """The table of docs/architecture.md holds the first line of each docstring."""
    assert _split_page()[1] == module_table(), "run python tests/test_architecture.py --write"


def test_each_module_says_what_it_is():
    """A room or module without a docstring would be an empty row."""
    assert re.findall(r"^\| (.+?) \|\s*\|$", module_table(), re.MULTILINE) == []


def test_page_is_short():
    """A newcomer reads the page in some minutes."""
    before, _table, after = _split_page()

    assert len((before + after).split()) <= MAX_WORDS


def test_index_names_each_record():
    """The index of docs/adr holds title, date and status of each record, in order."""
    index = (ROOT / "docs" / "adr" / "README.md").read_text()

    assert re.findall(r"^\| \[.*\|$", index, re.MULTILINE) == [_index_row(path) for path in RECORDS]


def _index_row(path: Path) -> str:
    head, _, date, status = path.read_text().splitlines()[:4]
    number, _, title = head.removeprefix("# ").partition(" ")
    return f"| [{number}]({path.name}) | {title} | {_value(date)} | {_value(status)} |"


def _value(line: str) -> str:
    return line.partition(": ")[2]


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_record_has_its_form(path):
    """A record has number, date, status, its three parts, and a length that is read."""
    text = path.read_text()
    number = path.name[:4]

    assert re.match(rf"# {number} .+\n\n- Date: \d{{4}}-\d\d-\d\d\n- Status: \w", text)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]
    assert len(text.split()) in RECORD_WORDS


def main() -> None:
    """Write the table into the page."""
    if sys.argv[1:] != ["--write"]:
        raise SystemExit("usage: python tests/test_architecture.py --write")
    before, _table, after = _split_page()
    PAGE.write_text(f"{before}{_BEGIN}\n{module_table()}\n{_END}{after}")


if __name__ == "__main__":
    main()
