"""What a process does at its end: by itself, as a child of multiprocessing, or by a signal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from textwrap import dedent
from weakref import ref

import pytest

from otel_posthog._runtime.process_end import ProcessEnd

ENDING = """
    import os, signal, sys, threading
    from otel_posthog._runtime.process_end import ProcessEnd

    parent = os.getpid()
    end = ProcessEnd(lambda: print("parent" if os.getpid() == parent else "child", flush=True), timeout_s=60)

    def end_by(number):
        os.kill(os.getpid(), number)
        print("still there", flush=True)
"""
IN_CHILD = """
from multiprocessing import get_context
child = get_context("fork").Process(target=in_child)
child.start()
child.join()
"""


def _run(program):
    return subprocess.run(
        [sys.executable, "-c", dedent(ENDING) + dedent(program)],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "ignore::DeprecationWarning"},
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("program", "ends"),
    [
        ("end.want()", ["parent"]),
        ("end.want(); end.drop()", []),
        ("import multiprocessing.util; end.want()", ["parent"]),
        ("end.want(); os.fork() or os._exit(0); os.wait()", ["parent"]),
        ("in_child = str; end.want()" + IN_CHILD, ["child", "parent"]),
        ("in_child = str" + IN_CHILD, []),
        ("in_child = end.want" + IN_CHILD, ["child"]),
        ("import atexit; in_child = lambda: (end.want(), atexit._run_exitfuncs())" + IN_CHILD, ["child"]),
        ("in_child = end.drop; end.want()" + IN_CHILD, ["parent"]),
    ],
    ids=[
        "wanted",
        "dropped",
        "once",
        "plain child",
        "child",
        "unwanted",
        "by the child",
        "as atexit and finalizer",
        "dropped by the child",
    ],
)
def test_end_of_a_process(program, ends):
    """A process that ends acts once if it is wanted there, also as a child of multiprocessing."""
    ran = _run(program)

    assert ran.stderr == ""
    assert ran.stdout.splitlines() == ends


def test_dropped_end_is_forgotten():
    """What need not act at the end is not kept until then."""
    end = ProcessEnd(lambda: None, timeout_s=1)
    end.want()

    end.drop()

    kept = ref(end)
    del end
    assert kept() is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signal_that_ends_the_process(number):
    """A signal without a handler acts once, and still ends the process with its own status."""
    ran = _run(f"end.want(); end_by({number})")

    assert ran.stderr == ""
    assert (ran.stdout, ran.returncode) == ("parent\n", -number)


@pytest.mark.parametrize(
    ("program", "output", "status"),
    [
        ("signal.signal(15, lambda *_: print('host')); end.want(); end_by(15); os._exit(3)", "host still", 3),
        ("end.want(); signal.signal(15, lambda *_: print('host')); end_by(15); os._exit(3)", "host still", 3),
        ("signal.signal(15, signal.SIG_IGN); end.want(); end_by(15); os._exit(3)", "still", 3),
        (
            "import faulthandler; faulthandler.register(15, sys.stdin); end.want(); end_by(15); os._exit(3)",
            "still",
            3,
        ),
        ("end.want(); end.drop(); print(signal.getsignal(15) is signal.SIG_DFL); end_by(15)", "True", -15),
        (
            "end.want(); end.want(); print(signal.getsignal(2) is signal.default_int_handler)",
            "True parent",
            0,
        ),
    ],
    ids=["handler before", "handler after", "ignored", "handler in C", "dropped", "interrupt"],
)
def test_handlers_of_the_host(program, output, status):
    """Only a default action gets a handler, and gets it back; one of the host decides alone."""
    ran = _run(program)

    assert ran.stderr == ""
    assert (ran.stdout.replace(" there", "").split(), ran.returncode) == (output.split(), status)


def test_server_that_raises_its_signal_again():
    """A server that sets back what it found, and raises the signal it has handled, ends with the act."""
    ran = _run("""
        end.want()
        found = signal.signal(15, lambda *_: None)
        os.kill(os.getpid(), 15)
        signal.signal(15, found)
        signal.raise_signal(15)
    """)

    assert (ran.stdout, ran.returncode) == ("parent\n", -15)


def test_loop_that_closes_during_the_exit():
    """What sets the default action again leaves exit hooks protected from a second signal."""
    ran = _run("""
        import atexit
        atexit.register(lambda: end_by(15))
        end.want()
        atexit.unregister(end.run)  # as if the signal came before its turn
        signal.signal(15, signal.SIG_DFL)
    """)

    assert (ran.stdout, ran.returncode) == ("parent\n", -15)


@pytest.mark.parametrize(
    "act",
    [
        "threading.Event().wait",
        "lambda: 1 / 0",
        "lambda: (os.kill(os.getpid(), 15), threading.Event().wait())",
    ],
)
def test_act_that_does_not_return(act):
    """What hangs or fails, or a second signal, keeps no process from ending."""
    ran = _run(f"end = ProcessEnd({act}, timeout_s=0.01); end.want(); end_by(15)")

    assert (ran.stdout, ran.stderr, ran.returncode) == ("", "", -15)


def test_signal_during_the_act():
    """A signal at an orderly end lets what has begun finish, and then ends the process."""
    ran = _run("""
        end = ProcessEnd(lambda: (os.kill(os.getpid(), 15), print("acted", flush=True)), timeout_s=60)
        end.want()
    """)

    assert (ran.stdout, ran.stderr, ran.returncode) == ("acted\n", "", -15)


def test_signal_during_the_first_of_two_acts():
    """A signal at an orderly end lets every act finish before it ends the process."""
    ran = _run("""
        end.want()
        first = ProcessEnd(lambda: (os.kill(os.getpid(), 15), print("first", flush=True)), timeout_s=60)
        first.want()
    """)

    assert (ran.stdout.splitlines(), ran.stderr, ran.returncode) == (["first", "parent"], "", -15)


def test_lock_of_the_main_thread():
    """The act may take a lock that the main thread holds: it waits within its time, and the process ends."""
    ran = _run("""
        lock = threading.Lock()
        end = ProcessEnd(lambda: lock.acquire(), timeout_s=0.01)
        end.want()
        with lock:
            end_by(15)
    """)

    assert (ran.stdout, ran.returncode) == ("", -15)


def test_signal_to_a_child():
    """A child of a fork acts for itself, its parent goes on."""
    ran = _run("""
        end.want()
        child = os.fork()
        if not child:
            end_by(15)
        print(os.waitpid(child, 0)[1], flush=True)
    """)

    assert (ran.stdout.splitlines(), ran.returncode) == (["child", "15", "parent"], 0)


def test_other_threads_set_no_handler():
    """Wanted outside of the main thread, the end has exit hooks alone."""
    ran = _run("""
        thread = threading.Thread(target=end.want)
        thread.start()
        thread.join()
        print(signal.getsignal(15) is signal.SIG_DFL, flush=True)
    """)

    assert (ran.stdout.splitlines(), ran.returncode) == (["True", "parent"], 0)
