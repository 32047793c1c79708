"""Two WSGI products, in Flask and in Django: each starts its telemetry with its first request."""

from __future__ import annotations

import os

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path
from flask import Flask

from otel_posthog import Telemetry, track

telemetry = Telemetry(
    api_key="phc_test",
    host=os.environ["SINK_URL"],
    database=os.environ["DATABASE_URL"],
    spool_dir=os.environ["SPOOL_DIR"],
    environment="production",
    batch_delay_s=1,  # so that at any time some of it waits
)
if "STARTED_EARLY" in os.environ:  # before gunicorn forks, if it loads the application first
    telemetry.start()


def _boom(number):
    track("numbered", {"number": number})
    raise LookupError(f"failure number {number}")


_flask = Flask(__name__)
_flask.add_url_rule("/", view_func=lambda: "fine")
_flask.add_url_rule("/boom/<int:number>", view_func=_boom)
flask_app = telemetry.wrap_wsgi(_flask)

urlpatterns = [
    path("", lambda _request: HttpResponse("fine")),
    path("boom/<int:number>", lambda _request, number: _boom(number)),
]
settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="of a test", MIDDLEWARE=[])
django.setup()
django_app = telemetry.wrap_wsgi(get_wsgi_application())
