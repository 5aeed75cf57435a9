"""The same page and health check, with only Flask and Jinja: no request IDs, headers or logs."""

from flask import Flask, render_template

app = Flask("bench", root_path="/app/bench")
app.config.from_object("config.settings")
ROUTES = {
    "/": ["GET"],
    "/livez": ["GET"],
    "/notes": ["GET", "POST"],
    "/notes/<int(max=2147483647):note_id>": ["DELETE", "GET"],
    "/readyz": ["GET"],
}


@app.get("/livez")
def livez():
    return {"status": "ok"}


@app.get("/")
def index():
    return render_template("home.html", routes=ROUTES)
