"""The example product on a real socket, and people who use it over HTTP."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx2
from server.config import PIPELINES, Config
from server.product import FastFlow
from waiting import wait_until

from otel_posthog import Telemetry
from otel_posthog.testing import serve

API_KEY = "phc_test_key_of_no_project"
WEBHOOK_SECRET = "told to nobody but the test"
WAIT_S = 60
ENDED = {"succeeded", "failed", "timed_out", "cancelled"}


class Person:
    """A browser without a screen: keeps its cookie, sends origin and CSRF token as the front end does."""

    def __init__(self, url):
        self.url = url
        self.origin = url
        self.cookies = httpx2.Cookies()
        self.csrf_token = None

    def sign_in(self, name, provider="github", **body):
        answer = self.call("POST", "/api/session", {"provider": provider, "name": name, **body})
        self.csrf_token = answer.json().get("csrf_token")
        return answer

    def call(self, method, path, body=None, **headers):
        sent = {"Origin": self.origin, "Connection": "close", **headers}
        if self.csrf_token is not None:
            sent["X-CSRF-Token"] = self.csrf_token
        with httpx2.Client(base_url=self.url, timeout=WAIT_S, cookies=self.cookies, verify=False) as http:
            answer = http.request(method, path, json=body, headers=sent)
            self.cookies = http.cookies
        return answer

    def run(self, pipeline):
        """Run the pipeline and return how it ended."""
        return self.ended(self.call("POST", "/api/runs", {"pipeline": pipeline}).json()["id"])

    def ended(self, run_id):
        def look():
            return self.call("GET", f"/api/runs/{run_id}").json()

        wait_until(lambda: look()["status"] in ENDED, timeout_s=WAIT_S)
        return look()


@contextmanager
def running(folder, sink_url, *, clock=None, telemetry=None, **settings):
    """Yield the product and its address; it ends with the block."""
    defaults = {
        "data_dir": folder / "data",
        "database_url": f"sqlite:///{folder}/data/fastflow.db",
        "is_pre_heating": False,  # takes seconds, and few tests are about it
    }
    config = Config(**{**defaults, **settings})
    options = {"api_key": API_KEY, "host": sink_url, "batch_delay_s": 0.02, "heartbeat_delay_s": 0.0}
    make_telemetry = partial(Telemetry, **{"environ": {}, **options, **(telemetry or {})})
    product = FastFlow(config, clock=clock, make_telemetry=make_telemetry)
    with serve(product.app) as url:
        product.first_sync.join(WAIT_S)
        yield product, url


def some_pipelines(folder: Path) -> Path:
    """Return a folder with the example's pipelines, which a test may change."""
    return Path(shutil.copytree(PIPELINES, folder / "pipelines"))


def git_repository(folder: Path) -> Path:
    """Make the folder a git repository with one commit on `main`."""
    git(folder, "init", "--quiet", "--initial-branch", "main")
    commit(folder)
    return folder


def commit(folder: Path) -> None:
    """Commit all there is."""
    git(folder, "add", "--all")
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.invalid"]
    git(folder, *identity, "commit", "--quiet", "--message", "Change pipelines")


def git(folder: Path, *arguments: str) -> None:
    """Run git in the folder."""
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, timeout=WAIT_S)
