"""The same page and health check, with only Flask and Jinja: no request IDs, headers or logs."""

from bench.home import bp
from flask import Flask

app = Flask("bench", root_path="/app/bench")
app.config.from_object("config.settings")
app.register_blueprint(bp)
# Not requested, but the page lists them
app.add_url_rule("/notes", "list", methods=["GET", "POST"])
app.add_url_rule("/notes/<int(max=2147483647):note_id>", "note", methods=["GET", "DELETE"])
app.add_url_rule("/readyz", "readyz")


@app.get("/livez")
def livez():
    return {"status": "ok"}
