"""docs/frameworks.md holds what is reported of each behaviour, in each framework, by each door.

The table is made by this test: `pytest -n 0 tests/frameworks/test_matrix.py --write` after a change.
"""

from __future__ import annotations

from collections import Counter

import pytest
from frameworks import client
from frameworks.behaviours import REQUESTS, SOCKETS
from frameworks.doors import DOORS
from frameworks.products import PRODUCTS
from frameworks.test_lifespans import WITH_LIFESPAN, fails_to_end, fails_to_start
from programs import ROOT

PAGE = ROOT / "docs" / "frameworks.md"
LIFESPANS = (fails_to_start, fails_to_end)
STARTS = tuple(each.__name__ for each in LIFESPANS)
_BEGIN, _END = "<!-- matrix: begin -->", "<!-- matrix: end -->"
FLUSH_S = 60
_SHOWN = {0: "no", 1: "yes"}

# Django says so for each iterator that is no asynchronous one.
pytestmark = pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume synchronous")


def _reported(door, sink, name):
    """Return how many events each behaviour of the product becomes, by its path."""
    sink.clear()
    product = PRODUCTS[name]
    with door.open():
        app = door.wrap(product.app)
        for call, behaviours in ((client.get, REQUESTS), (client.websocket, SOCKETS)):
            for behaviour in behaviours:
                if _is_run(product, behaviour.path):
                    call(app, behaviour.path)
        assert door.telemetry.flush(FLUSH_S)
    return Counter(event.properties["$request_path"] for event in sink.events)


def _reported_of_lifespan(opened, sink, name, lifespan):
    sink.clear()
    with opened as door, door.open():
        client.lifespan(door.wrap(PRODUCTS[name].with_lifespan(lifespan)))
        assert door.telemetry.flush(FLUSH_S)
    return len(sink.events)


def _is_run(product, path):
    return "test_blind_spots" in product.LACKS.get(path, "test_blind_spots")


def _is_absent(product, path):
    """Tell whether the framework has no such thing: what it has may not be seen, or wait for a client."""
    return product.LACKS.get(path, "").startswith(("no ", "ends its generators"))


def _cell(numbers):
    return " / ".join(_SHOWN.get(number, f"{number} times") for number in numbers)


def _name(path):
    return path.strip("/").replace("/", ": ").replace("_", " ")


def _matrix(sink, url, folder):
    """Return a row for each behaviour, with what is reported in code and by a file."""
    counts = {}
    for door, opened in DOORS.items():
        with opened(url, f"sqlite:///{folder}/{door}.db") as found:
            counts |= {(door, name): _reported(found, sink, name) for name in PRODUCTS}
        for name in WITH_LIFESPAN:
            for lifespan in LIFESPANS:
                database = f"sqlite:///{folder}/{door}{name}{lifespan.__name__}.db"
                number = _reported_of_lifespan(opened(url, database), sink, name, lifespan)
                counts[door, name][lifespan.__name__] = number
    rows = [f"| behaviour | {' | '.join(PRODUCTS)} |", "|---" * (len(PRODUCTS) + 1) + "|"]
    for path in [behaviour.path for behaviour in REQUESTS + SOCKETS] + list(STARTS):
        cells = [
            "–"
            if _is_absent(product, path) or (path in STARTS and name not in WITH_LIFESPAN)
            else _cell([counts[door, name][path] for door in DOORS])
            for name, product in PRODUCTS.items()
        ]
        rows.append(f"| {_name(path)} | {' | '.join(cells)} |")
    return "\n".join(rows)


def test_page_holds_what_a_run_shows(request, sink, sink_url, tmp_path):
    """Each cell of the page is what the real framework gives, in code and by a file."""
    before, _, rest = PAGE.read_text().partition(_BEGIN)
    table, _, after = rest.partition(_END)

    shown = _matrix(sink, sink_url, tmp_path)

    if request.config.getoption("--write"):
        PAGE.write_text(f"{before}{_BEGIN}\n{shown}\n{_END}{after}")
    else:
        assert table.strip() == shown, "run pytest -n 0 tests/frameworks/test_matrix.py --write"
