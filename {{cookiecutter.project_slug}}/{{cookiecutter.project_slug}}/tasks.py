"""Background jobs and their schedule.

A job may run twice, because it runs again if its worker is killed: write tasks for which this makes
no difference. A task that fails is repeated up to three times.
"""

import logging
from typing import Any

from celery import shared_task
from celery.schedules import crontab

logger = logging.getLogger(__name__)


@shared_task
def example(text: str) -> None:
    """Log ``text``."""
    logger.info("example: %s", text)


SCHEDULE: dict[str, Any] = {
    "example": {"task": example.name, "schedule": crontab(), "args": ["once a minute"]},
}
