"""The composition root of Fast-Flow, and all there is to wiring otel_posthog into a product."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import HTTPConnection

from otel_posthog import SecurityHeaders, Telemetry, settings_api
from otel_posthog.settings_api import Allowed, Need

from .accounts import Accounts, Caller
from .api import Parts, api
from .config import VERSION, Config
from .database import Database
from .events import EVENTS
from .frontend import frontend
from .measures import register_gauges
from .pipelines import Packages
from .runs import Runner
from .scheduler import Scheduler
from .sessions import SessionMiddleware
from .sync import Sync, SyncError

POLICY = (
    "default-src 'none'; base-uri 'none'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; "
    "img-src 'self' data:; script-src 'self'; style-src 'self'"
)
SYNC_END_S = 5.0  # longest wait at the end for a git that still fetches
_log = logging.getLogger(__name__)


class FastFlow:
    """One installation: `app` is what a server runs, `telemetry` what the command line looks at."""

    def __init__(
        self,
        config: Config,
        *,
        clock: Callable[[], float] | None = None,
        make_telemetry: Callable[..., Telemetry] = Telemetry,
    ) -> None:
        """Wire the parts; nothing is opened before the application starts.

        `clock` returns seconds since 1970; without one it is the computer's, and for the heartbeat
        the database's.
        """
        self.config = config
        now = clock or time.time
        self.database = Database(config.database_url)
        packages = Packages(config.data_dir.resolve() / "packages")
        logs_dir = config.data_dir / "logs"
        self.accounts = Accounts(self.database, clock=now)
        self.sync = Sync(config, packages, clock=now)
        self.runner = Runner(
            self.database, packages, logs_dir=logs_dir, timeout_s=config.run_timeout_s, clock=now
        )
        self.scheduler = Scheduler(self.database, start=self._start_scheduled, clock=now)
        self.telemetry = make_telemetry(
            database=config.database_url,
            environment=config.environment,
            service_version=VERSION,
            registry=EVENTS,
            browser_reports=config.browser_reports,
            security_headers=SecurityHeaders(content_security_policy=POLICY),
            clock=clock,
        )
        register_gauges(
            self.telemetry,
            accounts=self.accounts,
            sync=self.sync,
            scheduler=self.scheduler,
            logs_dir=logs_dir,
            data_dir=config.data_dir,
            is_pre_heating=config.is_pre_heating,
        )
        self.first_sync = threading.Thread(target=self._sync_first, name="fastflow-sync", daemon=True)
        self.app = self.telemetry.wrap(self._application())

    def _application(self) -> FastAPI:
        app = FastAPI(
            title="Fast-Flow", version=VERSION, lifespan=self._lifespan, docs_url=None, redoc_url=None
        )
        parts = Parts(
            config=self.config,
            database=self.database,
            accounts=self.accounts,
            sync=self.sync,
            runner=self.runner,
            scheduler=self.scheduler,
        )
        app.include_router(api(parts))
        app.router.routes.append(settings_api.mount(self.telemetry, authorize=authorize))
        app.mount("/", frontend(self.config.frontend_dir, self.telemetry))
        app.add_middleware(SessionMiddleware, accounts=self.accounts)
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(self.config.hosts))
        return app

    @asynccontextmanager
    async def _lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(self._open)
        try:
            yield
        finally:
            await run_in_threadpool(self._close)

    def _open(self) -> None:
        self.database.create()
        self.runner.open()
        self.first_sync.start()  # takes as long as git and pip do, and nobody has to wait for it
        self.scheduler.open()

    def _close(self) -> None:
        self.scheduler.close()
        self.runner.close()
        self.first_sync.join(SYNC_END_S)
        self.database.close()

    def _sync_first(self) -> None:
        with suppress(SyncError):  # has been tracked; pipelines of the last sync are still there
            self.sync.run()

    def _start_scheduled(self, name: str) -> None:
        pipeline = self.sync.pipeline(name)
        if pipeline is None:
            _log.warning("A scheduled pipeline is not there any more")
            return
        self.runner.start(pipeline, "scheduler")


def authorize(connection: HTTPConnection, need: Need) -> bool | Allowed | None:
    """Tell otel_posthog who may change or see the telemetry settings; the id stays in the audit trail."""
    caller: Caller | None = connection.state.caller
    if caller is None:
        return None
    if need == "admin" and not caller.user.is_admin:
        return False
    return Allowed(f"user {caller.user.id}")
