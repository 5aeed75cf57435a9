"""Measure what bodies cost. Run in a generated project: ``python costs.py my_service 131072``.

Prints, for each shape of a JSON body of this many bytes, the milliseconds of CPU time of a request to
``/notes``, its status, and the size of the answer.
"""

import importlib
import json
import sys
import time

sys.path.insert(0, "")
service = importlib.import_module(sys.argv[1])
SIZE = int(sys.argv[2])
ROUNDS = 7
NOTE = '{"title": "x", "body": "%s"}'
VALUE = '{"title": "x", "body": %s}'
PADDED = {  # valid notes; spaces follow
    "note": NOTE % "",
    "text": NOTE % ("y" * 10_000),
    "emoji": NOTE % (r"\ud83d\ude80" * 10_000),
}
# What is before, between and after the repeated elements
REPEATED = {
    "unknown fields": ("{", lambda n: f'"{n:x}":1,', '"":1}'),
    "long unknown fields": ("{", lambda n: f'"{n:0100x}":1,', '"":1}'),
    "the same unknown field": ("{", lambda n: '"a":1,', '"":1}'),
    "one long field": ('{"title":"x","', lambda n: "k", '":1}'),
    "fields in a field": ('{"title":"x","body":{', lambda n: f'"{n:x}":1,', '"":1}}'),
    "objects": ('{"title":"x","a":[', lambda n: '{"a":1},', "1]}"),
    "deep lists": ('{"title":"x","a":[', lambda n: "[" * 900 + "]" * 900 + ",", "1]}"),
    "list of numbers": ('{"title":"x","body":[', lambda n: "1,", "1]}"),
    "list of lists": ('{"title":"x","body":[', lambda n: "[],", "1]}"),
    "list of objects": ('{"title":"x","body":[', lambda n: "{},", "1]}"),
    "list of fractions": ('{"title":"x","body":[', lambda n: "1.5e9,", "1]}"),
    "list of long numbers": ('{"title":"x","body":[', lambda n: "1" * 4000 + ",", "1]}"),
    "lists without an object": ("[", lambda n: "[],", "1]"),
    "unclosed lists": ("", lambda n: "[", ""),
    "long text": ('{"title":"x","body":"', lambda n: "y", '"}'),
    "long escaped text": ('{"title":"x","body":"', lambda n: r"\u00e9", '"}'),
    "long number": ('{"title":"x","body":', lambda n: "1", "}"),
    "unclosed text": ('{"title":"x","body":"', lambda n: "y", ""),
}


def repeat(before, element, after):
    """Return as many elements as ``SIZE`` allows."""
    number = (SIZE - len(before + after)) // len(element(SIZE))
    return before + "".join(map(element, range(number))) + after


def cost(client, body):
    """Return the least CPU time of several requests, the status, and the size of the answer."""
    least = float("inf")
    for _ in range(ROUNDS):
        begun = time.process_time()
        response = client.post("/notes", data=body, content_type="application/json")
        least = min(least, time.process_time() - begun)
    return least * 1000, response.status_code, len(response.data)


client = service.create_app({"LOG_LEVEL": "ERROR"}).test_client()
bodies = {name: note.ljust(SIZE) for name, note in PADDED.items()}
bodies |= {name: repeat(*parts) for name, parts in REPEATED.items()}
print(json.dumps({name: cost(client, body.encode()) for name, body in bodies.items()}))
