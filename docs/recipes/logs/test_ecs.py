import json
import logging

from shop.core import ecs


def test_line_has_the_names_of_the_schema() -> None:
    record = logging.LogRecord("shop", logging.ERROR, "", 0, "sold %d", (3,), None)
    record.__dict__ |= {"status": 200, "duration_ms": 1.5, "customer": 7}
    try:
        raise ValueError("none left")
    except ValueError as error:
        record.exc_info = (ValueError, error, None)

    line = json.loads(ecs.FORMATTER.format(record))

    assert (line["log.level"], line["message"]) == ("ERROR", "sold 3")
    assert (line["http.response.status_code"], line["event.duration"]) == (200, 1_500_000)
    assert (line["error.type"], line["error.message"]) == ("ValueError", "none left")
    assert line["labels.customer"] == 7
