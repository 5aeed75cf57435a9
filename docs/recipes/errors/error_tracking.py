"""Errors are reported to Sentry: https://docs.sentry.io/platforms/python/."""

import sentry_sdk
from flask import Flask, g, has_app_context
from sentry_sdk.integrations.argv import ArgvIntegration
from sentry_sdk.types import Event, Hint


def init_app(app: Flask) -> None:
    """Report errors to ``SENTRY_DSN``; if it is unset, do nothing."""
    if not app.config["SENTRY_DSN"]:
        return
    sentry_sdk.init(
        dsn=app.config["SENTRY_DSN"],
        before_send=add_request_id,
        # What could contain secrets is not sent: the arguments of a command, and all this.
        disabled_integrations=[ArgvIntegration],
        data_collection={
            "cookies": {"mode": "off"},
            "database_query_data": False,
            "http_bodies": [],
            "http_headers": {"request": {"mode": "allowlist", "terms": ["accept", "content"]}},
            "queues": False,
            "stack_frame_variables": False,
            "url_query_params": {"mode": "off"},
            "user_info": False,
        },
        auto_session_tracking=False,  # it would report the number of requests, too
    )


def add_request_id(event: Event, hint: Hint) -> Event:
    """Add the ID that the lines of the log have."""
    if has_app_context() and g.get("request_id"):
        event.setdefault("tags", {})["request_id"] = g.request_id
    return event
