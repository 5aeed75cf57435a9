"""Count the calls of a request. Run in a generated project: ``python budget.py my_service``."""

import importlib
import json
import sys
from collections import Counter

from sqlalchemy import event
from werkzeug.test import create_environ, run_wsgi_app

sys.path.insert(0, "")
service = importlib.import_module(sys.argv[1])
app = service.create_app()
imported = len(sys.modules)
counts = Counter()


def count(kind):
    return lambda *_, **__: counts.update([kind])


class CountedCache:
    """A backend of Flask-Caching; each method call is one Redis command."""

    def __init__(self, backend):
        self.backend = backend

    def __getattr__(self, name):
        counts.update(["commands"])
        return getattr(self.backend, name)


def profile(frame, event, argument):
    if event in ("call", "c_call"):
        counts.update(["calls"])


def cost(path):
    """Count the calls of the tenth request, after imports and caches are filled."""
    for number in range(10):
        environ = create_environ(path.format(20 + number), "http://localhost")
        counts.clear()
        sys.setprofile(profile)
        _, status, _ = run_wsgi_app(app, environ, buffered=True)
        sys.setprofile(None)
        assert status == "200 OK", (path, status)
    return dict(counts)


with app.app_context():
    database = importlib.import_module(f"{sys.argv[1]}.core.database")
    event.listen(database.db.engine, "before_cursor_execute", count("statements"))
    cache = importlib.import_module(f"{sys.argv[1]}.core.cache").cache
    app.extensions["cache"][cache] = CountedCache(cache.cache)
paths = {
    "liveness": "/livez",
    "page": "/",
    "list": "/notes?per_page={}",
    "cached list": "/notes",
}
print(json.dumps({"modules": imported} | {name: cost(path) for name, path in paths.items()}))
