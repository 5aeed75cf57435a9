"""The additions of an owner to a generated project, as the libraries document them."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
from flask import Response, current_app, request
from flask_login import LoginManager, UserMixin, current_user, login_required, login_user
from flask_sock import Sock
from flask_wtf import CSRFProtect, FlaskForm
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from werkzeug.utils import secure_filename
from wtforms import StringField

from . import notes
from .core import logs
from .core.database import db

bp = flask.Blueprint("extras", __name__)
csrf, login_manager, sock = CSRFProtect(), LoginManager(), Sock()
counted = 0  # by the background thread


def init_app(app: flask.Flask) -> None:
    csrf.init_app(app)
    csrf.exempt(notes.bp)
    login_manager.init_app(app)
    login_manager.login_view = "extras.login"
    sock.init_app(app)
    app.register_blueprint(bp)


@login_manager.user_loader
class User(UserMixin):
    def __init__(self, name: str) -> None:
        self.id = name


class LoginForm(FlaskForm):
    name = StringField()


@bp.route("/login", methods=["GET", "POST"])
def login() -> Any:
    form = LoginForm()
    if form.validate_on_submit():
        login_user(User(form.name.data))
        return flask.redirect("/me")
    return flask.render_template_string("{{ form.hidden_tag() }}{{ form.name }}", form=form)


@bp.before_app_request
def reject_members() -> None:
    """Reject a path; Flask calls this for untrusted hosts too, before it rejects them."""
    if request.path == "/members":
        flask.abort(401)


@bp.get("/me")
@login_required
def me() -> str:
    logs.add_fields(user=current_user.id)
    current_app.logger.info("the page of %s", current_user.id)
    return f"{current_user.id} sees {len(notes.newest(page=1, per_page=20))} notes"


@bp.route("/board/<path:name>", methods=["GET", "POST"])
def board(name: str) -> str:
    """Show cached data, a token of the visitor, and the URL."""
    notes.newest(page=1, per_page=20)
    return flask.render_template_string("{{ csrf_token() }} {{ request.url }}")


@bp.route("/uploads", methods=["POST", "PUT"])
@csrf.exempt
def upload() -> list[int]:
    if request.method == "PUT":
        return [sum(map(len, iter(lambda: request.stream.read(65_536), b"")))]
    file = request.files["file"]
    path = Path(current_app.instance_path, secure_filename(file.filename or ""))
    file.save(path)
    return [path.stat().st_size]


@bp.get("/events")
def events() -> Response:
    def generate() -> Iterator[str]:
        for number in db.session.scalars(text("VALUES (0), (1), (2)")):
            yield f"data: {number}\n\n"
            time.sleep(1)

    headers = {"X-Accel-Buffering": "no"}
    return Response(flask.stream_with_context(generate()), 200, headers, "text/event-stream")


@sock.route("/echo")
def echo(socket: Any) -> None:
    while True:
        socket.send(socket.receive())


@bp.get("/query")
def query() -> list[Any]:
    results = [db.session.connection().execute(text(q)) for q in request.args.getlist("q")]
    values = [result.scalar() if result.returns_rows else None for result in results]
    time.sleep(request.args.get("hold", 0.0, float))
    return values


@bp.get("/reports")
def reports() -> list[Any]:
    with db.get_engine("reports").connect() as connection:
        return [connection.scalar(text(request.args["q"]))]


@bp.get("/news")
def news() -> list[str]:
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        driver: Any = connection.connection.driver_connection
        driver.execute("LISTEN news")
        received = [message.payload for message in driver.notifies(timeout=10, stop_after=1)]
        driver.execute("UNLISTEN news")
    return received


@bp.get("/status")
def status() -> dict[str, Any]:
    time.sleep(0.2)  # so that requests at once reach all workers
    settings = [current_app.config[name] for name in ("ADMINS", "PAGE_SIZE", "SUPPORT_DAYS")]
    return {"settings": settings, "pid": os.getpid(), "counted": counted}


def count(app: flask.Flask) -> None:
    global counted
    while True:
        try:
            with app.app_context():
                counted += db.session.scalar(text("SELECT 1"))
        except OperationalError:
            app.logger.warning("nothing is counted without the database")
        time.sleep(0.1)
