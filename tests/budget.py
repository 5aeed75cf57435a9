"""Count what a request costs, run inside of a generated project: ``python budget.py my_service``."""

import importlib
import json
import sys
from collections import Counter

from werkzeug.test import create_environ, run_wsgi_app

sys.path.insert(0, "")
service = importlib.import_module(sys.argv[1])
app = service.create_app()
imported = len(sys.modules)
counts = Counter()


def count(kind):
    return lambda *_, **__: counts.update([kind])


def watch_statements():
    from sqlalchemy import event

    with app.app_context():
        engine = importlib.import_module(f"{sys.argv[1]}.database").db.engine
    event.listen(engine, "before_cursor_execute", count("statements"))


def watch_commands(cache):
    for name in ("mget", "set"):
        command = getattr(cache.InProcess, name)

        def counted(*args, command=command, **options):
            counts.update(["commands"])
            return command(*args, **options)

        setattr(cache.InProcess, name, counted)


def profile(frame, event, argument):
    if event in ("call", "c_call"):
        counts.update(["calls"])


def cost(path):
    """What the tenth request costs: by then everything is warm."""
    for number in range(10):
        environ = create_environ(path.format(number), "http://localhost")
        counts.clear()
        sys.setprofile(profile)
        _, status, _ = run_wsgi_app(app, environ, buffered=True)
        sys.setprofile(None)
        assert status == "200 OK", (path, status)
    return dict(counts)


watch_statements()
watch_commands(importlib.import_module(f"{sys.argv[1]}.cache"))
paths = {"liveness": "/livez", "page": "/", "list": "/notes?page=1&x={}", "cached list": "/notes"}
print(json.dumps({"modules": imported} | {name: cost(path) for name, path in paths.items()}))
