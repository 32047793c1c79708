"""Fast-Flow's own endpoints. Names of pipelines stand in bodies only, never in an address."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, HTTPException, Request, Response
from pydantic import BaseModel, Field, StringConstraints
from sqlalchemy import select

from .accounts import Accounts, Caller, InvalidInvitationError, Provider
from .config import Config
from .database import Database, Run, User
from .runs import Runner, latest_runs
from .scheduler import Scheduler
from .sessions import COOKIE, end_session, set_session
from .sync import Sync, SyncError

RUNS_SHOWN = 50
MAX_SCHEDULE_MINUTES = 30 * 24 * 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the endpoints work with."""

    config: Config
    database: Database
    accounts: Accounts
    sync: Sync
    runner: Runner
    scheduler: Scheduler


class SignInBody(BaseModel):
    """A name at one of the two providers."""

    provider: Provider
    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
    invitation: str | None = None


class LanguageBody(BaseModel):
    """A language of the front end."""

    language: Literal["en", "de"]


class PipelineBody(BaseModel):
    """A pipeline by its name."""

    pipeline: str


class ScheduleBody(PipelineBody):
    """How often to run it; never, if nothing is given."""

    every_minutes: Annotated[int, Field(ge=1, le=MAX_SCHEDULE_MINUTES)] | None = None


def signed_in(request: Request) -> User:
    """Return the caller; raise 401 where nobody is signed in."""
    caller: Caller | None = request.state.caller
    if caller is None:
        raise HTTPException(401, "Sign in first.")
    return caller.user


def admin(user: Annotated[User, Depends(signed_in)]) -> User:
    """Return the caller; raise 403 for everybody but administrators."""
    if not user.is_admin:
        raise HTTPException(403, "This needs the rights of an admin.")
    return user


def api(parts: Parts) -> APIRouter:
    """Return the endpoints below `/api`."""
    router = APIRouter(prefix="/api")
    router.include_router(_session(parts))
    router.include_router(_pipelines(parts), dependencies=[Depends(signed_in)])
    router.include_router(_administration(parts), dependencies=[Depends(admin)])
    router.include_router(_hooks(parts))
    return router


def _session(parts: Parts) -> APIRouter:
    router = APIRouter()
    environment = parts.config.environment

    @router.get("/session")
    def show_session(request: Request, response: Response) -> dict[str, object]:
        response.headers["Cache-Control"] = "no-store"
        return _session_of(request.state.caller, environment)

    @router.post("/session")
    def sign_in(body: SignInBody, request: Request, response: Response) -> dict[str, object]:
        try:
            token = parts.accounts.sign_in(body.provider, body.name, invitation=body.invitation)
        except InvalidInvitationError:
            raise HTTPException(403, "This invitation is not valid, or has been used.") from None
        set_session(response, request, token)
        return _session_of(parts.accounts.caller(token), environment)

    @router.delete("/session", status_code=204)
    def sign_out(request: Request, response: Response) -> None:
        parts.accounts.sign_out(request.cookies.get(COOKIE, ""))
        end_session(response, request)

    @router.put("/session/language", status_code=204)
    def choose_language(body: LanguageBody, user: Annotated[User, Depends(signed_in)]) -> None:
        parts.accounts.use_language(user, body.language)

    return router


def _pipelines(parts: Parts) -> APIRouter:
    router = APIRouter()

    @router.get("/pipelines")
    def list_pipelines() -> list[dict[str, object]]:
        latest, schedules = latest_runs(parts.database), parts.scheduler.schedules()
        return [
            {
                "name": one.name,
                "has_requirements": one.requirements is not None,
                "every_minutes": schedules[one.name].every_minutes if one.name in schedules else None,
                "latest_run": _shown(latest[one.name], parts.runner) if one.name in latest else None,
            }
            for one in parts.sync.pipelines()
        ]

    @router.get("/runs")
    def list_runs() -> list[dict[str, object]]:
        with parts.database.begin() as session:
            runs = session.scalars(select(Run).order_by(Run.id.desc()).limit(RUNS_SHOWN)).all()
        return [_shown(run, parts.runner) for run in runs]

    @router.post("/runs", status_code=201)
    def start_run(body: PipelineBody) -> dict[str, object]:
        return {"id": _start(parts, body.pipeline, "manual")}

    @router.get("/runs/{run_id}")
    def show_run(run_id: int) -> dict[str, object]:
        with parts.database.begin() as session:
            run = session.get(Run, run_id)
        if run is None:
            raise HTTPException(404, "There is no such run.")
        log = parts.runner.log(run_id).decode(errors="replace")
        return {**_shown(run, parts.runner), "log": log}

    @router.post("/runs/{run_id}/cancel", status_code=204)
    def cancel_run(run_id: int) -> None:
        if not parts.runner.cancel(run_id):
            raise HTTPException(409, "This run has ended.")

    return router


def _administration(parts: Parts) -> APIRouter:
    router = APIRouter()

    @router.put("/schedules", status_code=204)
    def change_schedule(body: ScheduleBody) -> None:
        if body.every_minutes is None:
            parts.scheduler.unschedule(body.pipeline)
            return
        if parts.sync.pipeline(body.pipeline) is None:
            raise HTTPException(404, "There is no such pipeline.")
        parts.scheduler.schedule(body.pipeline, body.every_minutes)

    @router.post("/sync")
    def synchronise() -> dict[str, object]:
        try:
            return {"pipelines": parts.sync.run()}
        except SyncError as error:
            raise HTTPException(502, str(error)) from error

    @router.post("/invitations", status_code=201)
    def invite() -> dict[str, object]:
        return {"code": parts.accounts.invite()}

    return router


def _hooks(parts: Parts) -> APIRouter:
    router = APIRouter()

    @router.post("/hooks/runs", status_code=201)
    def start_from_outside(
        body: PipelineBody, authorization: Annotated[str, Header()] = ""
    ) -> dict[str, object]:
        secret = parts.config.webhook_secret
        if secret is None or not secrets.compare_digest(authorization.encode(), f"Bearer {secret}".encode()):
            raise HTTPException(403, "Webhooks need Authorization: Bearer and the secret of this server.")
        return {"id": _start(parts, body.pipeline, "webhook")}

    return router


def _start(parts: Parts, name: str, triggered_by: Literal["manual", "webhook"]) -> int:
    pipeline = parts.sync.pipeline(name)
    if pipeline is None:
        raise HTTPException(404, "There is no such pipeline.")
    return parts.runner.start(pipeline, triggered_by)


def _session_of(caller: Caller | None, environment: str) -> dict[str, object]:
    user = None
    if caller is not None:
        user = {"name": caller.user.name, "role": caller.user.role, "language": caller.user.language}
    return {
        "user": user,
        "csrf_token": caller.csrf_token if caller else None,
        "environment": environment,
    }


def _shown(run: Run, runner: Runner) -> dict[str, object]:
    return {
        "id": run.id,
        "pipeline": run.pipeline,
        "triggered_by": run.triggered_by,
        "status": run.status,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "progress": runner.progress(run.id) if run.status == "running" else None,
    }
