"""What happens at a fork, to whom and in which order, and attributes that hold no lock then."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from textwrap import dedent

from otel_posthog._runtime.process import lazy

WAIT_S = 10
PRODUCT = Path(__file__).with_name("forking_product.py")
FOLLOWERS = """
    import os, sys
    from otel_posthog._runtime.process import follow_forks

    class Follower:
        def __init__(self, name):
            self.name, self.seen = name, []
            follow_forks(self)

        def before_fork(self):
            calls.append(f"before {self.name}")

        def after_fork_in_parent(self):
            calls.append(f"parent {self.name}")

        def after_fork(self):
            calls.append(f"child {self.name}")

    calls = []
    first, second, gone = Follower("first"), Follower("second"), Follower("gone")
    del gone
"""


def _lines(*arguments):
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "ignore::DeprecationWarning"},
        text=True,
        timeout=120,
    )
    return done.stdout.splitlines(), done.stderr


def _forked(program):
    return _lines("-c", dedent(FOLLOWERS) + dedent(program))


def test_followers_are_called_in_order():
    """Before a fork the last one pauses first, afterwards the first one goes on first."""
    said, error = _forked("""
        child = os.fork()
        if child:
            os.waitpid(child, 0)
        print(calls, flush=True)
        os._exit(0)
    """)

    assert error == ""
    before = "'before second', 'before first'"
    assert said == [
        f"[{before}, 'child first', 'child second']",
        f"[{before}, 'parent first', 'parent second']",
    ]


def test_failing_follower_costs_the_others_nothing():
    """All are called, and Python reports what one of them raised."""
    said, error = _forked("""
        first.after_fork = lambda: 1 / 0
        child = os.fork()
        if not child:
            print(calls[-1], flush=True)
            os._exit(0)
        os.waitpid(child, 0)
    """)

    assert said == ["child second"]
    assert "ZeroDivisionError" in error


def test_threads_fork_in_turn():
    """Of two threads that fork at once the second one waits until the first is through."""
    said, error = _forked("""
        import threading, time

        class Slow(Follower):
            def before_fork(self):
                super().before_fork()
                time.sleep(0.1)

        slow = Slow("slow")

        def fork():
            child = os.fork()
            if not child:
                os._exit(0)
            os.waitpid(child, 0)

        threads = [threading.Thread(target=fork) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print([call for call in calls if "slow" in call])
    """)

    assert error == ""
    assert said == ["['before slow', 'parent slow', 'before slow', 'parent slow']"]


def test_child_forks_in_its_own_turn():
    """A child that forks calls the followers as its parent did."""
    said, error = _forked("""
        child = os.fork()
        grandchild = None if child else os.fork()
        if child or grandchild:
            os.waitpid(child or grandchild, 0)
        else:
            print(calls[4:], flush=True)
        os._exit(0)
    """)

    assert error == ""
    assert said == ["['before second', 'before first', 'child first', 'child second']"]


def test_follower_may_fork():
    """A follower that forks while it pauses has a child that goes on with the first fork, without a turn."""
    said, error = _forked("""
        def fork_once():
            first.before_fork = lambda: None
            child = os.fork()
            if child:
                os.waitpid(child, 0)

        first.before_fork = fork_once
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            print("forked", flush=True)
        os._exit(0)
    """)

    assert error == ""
    assert said == ["forked", "forked"]


def test_there_is_one_set_of_hooks():
    """No other module has hooks of its own, whose order nothing would decide."""
    package = Path(__file__).parents[2] / "otel_posthog"

    found = [path.name for path in package.rglob("*.py") if "register_at_fork" in path.read_text()]

    assert found == ["process.py"]


def test_every_part_follows_forks(tmp_path):
    """Each object with a lock, a thread or a connection is registered, and a child shares none of these."""
    said, error = _lines(PRODUCT, tmp_path)

    assert said == [], error


class Counted:
    """An object that counts how often its value is computed."""

    def __init__(self):
        self.computed = 0

    @lazy
    def value(self):
        """Return a new list."""
        self.computed += 1
        return [self.computed]


def test_value_is_computed_once():
    """Each instance computes its own value at the first use, and keeps it."""
    one, other = Counted(), Counted()

    first, again = one.value, one.value

    assert first is again
    assert (one.computed, other.computed) == (1, 0)
    assert Counted.value.__doc__ == "Return a new list."


def test_threads_agree_on_one_value():
    """Two threads may both compute the value; each gets the one that is kept, and neither waits."""
    both_compute = threading.Barrier(2, timeout=WAIT_S)

    class Slow:
        @lazy
        def value(self):
            both_compute.wait()
            return object()

    slow, found = Slow(), []
    threads = [threading.Thread(target=lambda: found.append(slow.value)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)

    assert found == [slow.value] * 2
