"""The example product does what it is for: it runs, schedules and synchronises pipelines."""

from __future__ import annotations

import os
import socket
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from fastflow_product import ENDED, WAIT_S, Person, commit, git_repository, some_pipelines
from server.database import Run
from server.pipelines import Packages, PreparationError, discover
from server.sync import kind_of
from waiting import wait_until

pytestmark = pytest.mark.example


def _write(folder, name, text):
    (folder / name).write_text(text)


def test_discovers_files_and_folders(tmp_path):
    """A file is a pipeline, and so is a folder with main.py; hidden ones and helpers are none."""
    for name in ("b.py", "_helper.py", ".hidden.py", "notes.txt"):
        _write(tmp_path, name, "")
    for name in ("a", "empty"):
        (tmp_path / name).mkdir()
    _write(tmp_path / "a", "main.py", "")
    _write(tmp_path / "a", "requirements.txt", "x")

    found = [(one.name, one.requirements is not None) for one in discover(tmp_path)]

    assert found == [("a", True), ("b", False)]


def test_run_keeps_its_output(admin):
    """A run ends as its program does, with what it printed."""
    ended = admin.run("hello")

    assert (ended["status"], ended["triggered_by"]) == ("succeeded", "manual")
    assert ended["log"] == "Hello from Fast-Flow.\n"


def test_failure_is_shown(admin):
    """A program that ends with an error is a failed run, and says why."""
    ended = admin.run("nightly_check")

    assert ended["status"] == "failed"
    assert "expected 1200, found 1187" in ended["log"]


def test_packages_are_installed(admin):
    """A pipeline gets the packages that it names."""
    ended = admin.run("word_report")

    assert (ended["status"], ended["log"]) == ("succeeded", "7 words\n")


def test_missing_package_fails_the_run(tmp_path, start):
    """A package that cannot be had fails that run, and its log says so."""
    folder = some_pipelines(tmp_path)
    (folder / "word_report" / "requirements.txt").write_text("--no-index\nno-such-package-anywhere==1\n")
    _, url = start(pipelines_dir=folder)
    person = Person(url)
    person.sign_in("ada")

    ended = person.run("word_report")

    assert ended["status"] == "failed"
    assert "packages of this pipeline could not be installed" in ended["log"]


def test_end_does_not_wait_for_an_installer(tmp_path):
    """An installation that hangs is ended with the server, and none begins afterwards."""
    folder = tmp_path / "slow"
    folder.mkdir()
    _write(folder, "main.py", "")
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor(1) as pool:
        silent.settimeout(WAIT_S)
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        _write(folder, "requirements.txt", f"--no-index\n--find-links {address}\nslow==1\n")
        [pipeline] = discover(tmp_path)
        packages = Packages(tmp_path / "packages")
        with (tmp_path / "log").open("wb") as log:
            attempt = pool.submit(packages.prepare, pipeline, log)
            connection, _ = silent.accept()  # from here on it waits for an answer
            packages.close()
            ended = attempt.exception(WAIT_S)
            connection.close()
            with pytest.raises(PreparationError):
                packages.prepare(pipeline, log)

    assert isinstance(ended, PreparationError)


def test_unknown_pipeline_is_not_found(admin):
    """What is no pipeline is not run, whatever its name looks like."""
    answers = [admin.call("POST", "/api/runs", {"pipeline": name}) for name in ("../x", "", "absent")]

    assert [answer.status_code for answer in answers] == [404, 404, 404]


def test_cancelled_run_ends_with_all_it_started(tmp_path, start):
    """Cancelling kills the program and its children."""
    folder = tmp_path / "pipelines"
    folder.mkdir()
    child = "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])"
    tell = "print('pids', child.pid, flush=True)"
    _write(folder, "waits.py", f"import subprocess, sys\n{child}\n{tell}\nchild.wait()\n")
    _, url = start(pipelines_dir=folder)
    person = Person(url)
    person.sign_in("ada")
    run_id = person.call("POST", "/api/runs", {"pipeline": "waits"}).json()["id"]
    wait_until(lambda: "pids" in person.call("GET", f"/api/runs/{run_id}").json()["log"], timeout_s=WAIT_S)
    child = int(person.call("GET", f"/api/runs/{run_id}").json()["log"].split()[1])

    answer = person.call("POST", f"/api/runs/{run_id}/cancel")

    assert answer.status_code == 204
    assert person.ended(run_id)["status"] == "cancelled"
    wait_until(lambda: not psutil.pid_exists(child) or _is_dead(child), timeout_s=WAIT_S)
    assert person.call("POST", f"/api/runs/{run_id}/cancel").status_code == 409


def _is_dead(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_run_that_takes_too_long_is_ended(tmp_path, start):
    """A run ends when its time is over."""
    folder = tmp_path / "pipelines"
    folder.mkdir()
    _write(folder, "waits.py", "import time\ntime.sleep(600)\n")
    _, url = start(pipelines_dir=folder, run_timeout_s=0.2)
    person = Person(url)
    person.sign_in("ada")

    assert person.run("waits")["status"] == "timed_out"


def test_run_tells_how_far_it_is(tmp_path, start):
    """The last line `progress N` of a run under way is its progress."""
    folder = tmp_path / "pipelines"
    folder.mkdir()
    _write(
        folder, "waits.py", "import time\nprint('progress 10\\nprogress 40', flush=True)\ntime.sleep(600)\n"
    )
    _, url = start(pipelines_dir=folder)
    person = Person(url)
    person.sign_in("ada")

    run_id = person.call("POST", "/api/runs", {"pipeline": "waits"}).json()["id"]

    wait_until(lambda: person.call("GET", f"/api/runs/{run_id}").json()["progress"] == 40, timeout_s=WAIT_S)


def test_pipeline_sees_no_secret_of_the_server(tmp_path, start, monkeypatch):
    """Variables of the server's environment are not handed on to pipelines."""
    monkeypatch.setenv("POSTHOG_API_KEY", "phc_of_the_server")
    folder = tmp_path / "pipelines"
    folder.mkdir()
    _write(folder, "tells.py", "import os\nprint(sorted(os.environ))\n")
    _, url = start(pipelines_dir=folder)
    person = Person(url)
    person.sign_in("ada")

    log = person.run("tells")["log"]

    assert "'PATH'" in log
    assert "POSTHOG_API_KEY" in os.environ
    assert "POSTHOG_API_KEY" not in log


def test_what_a_server_left_unfinished_is_noted(tmp_path, start):
    """A run that was under way when the server ended is not shown as running for ever."""
    first, _ = start()
    with first.database.begin() as session:
        session.add(Run(pipeline="hello", triggered_by="manual", status="running", created_at=1.0))

    _, url = start()
    person = Person(url)
    person.sign_in("ada")

    assert [run["status"] for run in person.call("GET", "/api/runs").json()] == ["cancelled"]


def test_schedule_runs_when_its_time_has_come(start):
    """A scheduled pipeline runs once the interval has passed, and not before."""
    now = [1_800_000_000.0]
    product, url = start(clock=lambda: now[0])
    person = Person(url)
    person.sign_in("ada")
    person.call("PUT", "/api/schedules", {"pipeline": "hello", "every_minutes": 60})

    now[0] += 3599
    product.scheduler.run_due()
    before = person.call("GET", "/api/runs").json()
    now[0] += 1

    wait_until(lambda: len(person.call("GET", "/api/runs").json()) == 1, timeout_s=WAIT_S)
    [run] = person.call("GET", "/api/runs").json()
    assert before == []
    assert (run["pipeline"], run["triggered_by"]) == ("hello", "scheduler")
    assert person.ended(run["id"])["status"] == "succeeded"


def test_schedule_can_be_taken_back(admin):
    """A pipeline without an interval runs only when asked to."""
    admin.call("PUT", "/api/schedules", {"pipeline": "hello", "every_minutes": 5})
    before = _interval(admin)

    admin.call("PUT", "/api/schedules", {"pipeline": "hello"})

    assert (before, _interval(admin)) == (5, None)


def _interval(person):
    return next(one for one in person.call("GET", "/api/pipelines").json() if one["name"] == "hello")[
        "every_minutes"
    ]


def test_strange_interval_is_refused(admin):
    """An interval is a number of minutes from one to those of a month."""
    strange = (0, -1, 1.5, "often", 10**9)

    statuses = [
        admin.call("PUT", "/api/schedules", {"pipeline": "hello", "every_minutes": minutes}).status_code
        for minutes in strange
    ]

    assert statuses == [422] * len(strange)


def test_sync_takes_what_the_repository_holds(tmp_path, start):
    """Pipelines come and go with the repository's branch."""
    repository = git_repository(some_pipelines(tmp_path))
    _, url = start(git_url=str(repository))
    person = Person(url)
    person.sign_in("ada")
    before = {one["name"] for one in person.call("GET", "/api/pipelines").json()}

    (repository / "hello.py").unlink()
    _write(repository, "goodbye.py", "print('bye')\n")
    commit(repository)
    answer = person.call("POST", "/api/sync")

    after = {one["name"] for one in person.call("GET", "/api/pipelines").json()}
    assert answer.json() == {"pipelines": len(after)}
    assert (before - after, after - before) == ({"hello"}, {"goodbye"})


def test_failed_sync_keeps_what_there_was(tmp_path, start):
    """A repository that is gone is an error to whoever asked, and pipelines stay."""
    repository = git_repository(some_pipelines(tmp_path))
    _, url = start(git_url=str(repository))
    person = Person(url)
    person.sign_in("ada")
    repository.rename(tmp_path / "elsewhere")

    answer = person.call("POST", "/api/sync")

    assert answer.status_code == 502
    assert person.run("hello")["status"] in ENDED


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("fatal: Authentication failed for 'https://x'", "auth"),
        ("git@host: Permission denied (publickey).", "auth"),
        ("fatal: unable to access 'https://x': Could not resolve host: x", "network"),
        ("fatal: repository '/srv/x' does not exist", "network"),
        ("error: Your local changes to the following files would be overwritten by checkout", "conflict"),
        ("fatal: Remote branch x not found in upstream origin", "other"),
    ],
)
def test_kind_of_git_error(message, kind):
    """What git says is told apart into the registered kinds."""
    assert kind_of(message) == kind
