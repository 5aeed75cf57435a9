"""Measure what reads cost. Run in a generated project: ``python reads.py my_service``.

Prints, for each kind of request, the milliseconds of CPU time that the quickest of several takes.
"""

import importlib
import json
import sys
import time

sys.path.insert(0, "")
service = importlib.import_module(sys.argv[1])
models = importlib.import_module(f"{sys.argv[1]}.models")
database = importlib.import_module(f"{sys.argv[1]}.core.database")
ROUNDS = 9
REQUESTS = {
    "first page": ("/notes?page=1", "*/*"),
    "last page": ("/notes?page=500", "*/*"),
    "error": ("/none?a=1", "application/json"),
    "error, many types": ("/none?a=1", "a/b;q=0.5," * 2_400),
    "error, many spaces": ("/none?a=1", "text/html" + " " * 24_000),
    "error, many parameters": ("/none?a=1", "text/html" + ";a=b" * 6_000),
}


def cost(client, path, accept):
    """Return the least CPU time of several requests, none of which is in the cache."""
    least = float("inf")
    for number in range(ROUNDS):
        begun = time.process_time()
        client.get(f"{path}&per_page={100 - number}", headers={"Accept": accept})
        least = min(least, time.process_time() - begun)
    return least * 1000


app = service.create_app({"LOG_LEVEL": "ERROR"})
with app.app_context():
    database.db.session.add_all(models.Note(title="x", body="y") for _ in range(50_000))
    database.db.session.commit()
client = app.test_client()
print(json.dumps({name: cost(client, *request) for name, request in REQUESTS.items()}))
