"""A Flask service as common guides describe it."""

import os

import redis
from flask import Flask, jsonify, render_template
from flask_debugtoolbar import DebugToolbarExtension
from flask_sqlalchemy import SQLAlchemy
from flask_static_digest import FlaskStaticDigest
from sqlalchemy import text

app = Flask(__name__)
app.config["SECRET_KEY"] = "change me"
app.config["SQLALCHEMY_DATABASE_URI"] = os.environ.get("DATABASE_URL", "sqlite://")
db = SQLAlchemy(app)
toolbar = DebugToolbarExtension(app)
digest = FlaskStaticDigest(app)
cache = redis.from_url(os.environ.get("REDIS_URL", "redis://"))


class Note(db.Model):
    __tablename__ = "notes"
    id = db.Column(db.Integer, primary_key=True)
    title = db.Column(db.String(200), nullable=False)
    body = db.Column(db.Text, nullable=False)
    created_at = db.Column(db.DateTime(timezone=True), nullable=False)

    def to_dict(self):
        return {
            "id": self.id,
            "title": self.title,
            "body": self.body,
            "created_at": self.created_at.isoformat(),
        }


@app.route("/livez")
def livez():
    return jsonify(status="ok")


@app.route("/readyz")
def readyz():
    db.session.execute(text("SELECT 1"))
    cache.ping()
    return jsonify(status="ok", checks={"postgres": "ok", "redis": "ok"})


@app.route("/")
def index():
    routes = {rule.rule: rule.methods - {"HEAD", "OPTIONS"} for rule in app.url_map.iter_rules()}
    return render_template("home.html", routes=routes)


@app.route("/notes")
def notes():
    notes = Note.query.order_by(Note.id.desc()).paginate(page=1, per_page=20)
    return jsonify(items=[note.to_dict() for note in notes.items], page=1, per_page=20)
