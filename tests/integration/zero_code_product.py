"""A product that imports nothing of ours."""

import logging
import os
import threading

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from opentelemetry import metrics, trace

app = FastAPI()
tracer = trace.get_tracer("product")
_gauge = metrics.get_meter("otel_posthog.heartbeat").create_observable_gauge(
    "total_pipelines", callbacks=[lambda _options: [metrics.Observation(3)]]
)


@app.get("/")
def home():
    return {"pid": os.getpid()}


@app.post("/api/pipelines/{pipeline_id}/run", status_code=202)
def run(pipeline_id: int):
    with tracer.start_as_current_span(
        "pipeline.run",
        attributes={"pipeline.success": True, "pipeline.steps": 7, "user.email": "a@b.example"},
    ):
        return {"pid": os.getpid()}


@app.get("/boom/{number}")
def boom(number: int):
    with tracer.start_as_current_span("work"), tracer.start_as_current_span("deeper"):
        raise RuntimeError(f"boom {number} of {os.getpid()}, api_key=sk-planted-0123456789")


@app.get("/handled/{number}")
def handled(number: int):
    try:
        with tracer.start_as_current_span("work"):
            int(f"handled {number}")
    except ValueError as error:
        raise HTTPException(404) from error


@app.exception_handler(KeyError)
async def answer(_request: Request, _error: KeyError):
    return JSONResponse({}, status_code=500)


@app.get("/answered/{number}")
async def answered(number: int):
    raise KeyError(number)


@app.get("/thread")
def fail_in_thread():
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()


@app.get("/logged")
async def logged():
    logging.getLogger("product").warning("before the failure")
    try:
        raise LookupError("handled by hand")  # noqa: TRY301 - what it logs is the subject
    except LookupError:
        logging.getLogger("product").exception("a failure")
