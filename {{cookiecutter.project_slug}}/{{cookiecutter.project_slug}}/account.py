"""An example of what belongs to whoever is logged in: a page, and a JSON resource."""

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_security import auth_required, current_user, logout_user
from marshmallow import Schema, fields

from .core import api
from .core.database import db
from .users import User

bp = Blueprint("account", __name__, url_prefix="/account")
resource = api.Blueprint(
    "me", __name__, url_prefix="/account/me", description="Whoever is logged in"
)


class UserSchema(Schema):
    """A user as clients receive it."""

    email = fields.String(required=True)
    created_at = fields.DateTime(required=True)


@bp.get("")
@auth_required("session")
def index() -> str:
    """Show the account."""
    return render_template("security/account.html")


@bp.route("/delete", methods=["GET", "POST"])
@auth_required("session", within=5)  # minutes since the password was entered
def delete() -> ResponseReturnValue:
    """Ask, and then delete the account. What else belongs to the user, delete here too."""
    if request.method == "GET":
        return render_template("security/delete.html")
    user = db.session.get_one(User, current_user.id)
    logout_user()
    db.session.delete(user)
    db.session.commit()
    flash("Your account is deleted.")
    return redirect(url_for("security.login"))


@resource.get("")
@auth_required("token", "session")
{% if cookiecutter.use_openapi %}
@resource.doc(security=[{"token": []}])
{% endif %}
@resource.response(200, UserSchema)
def me() -> User:
    """Return who is logged in."""
    return db.session.get_one(User, current_user.id)
