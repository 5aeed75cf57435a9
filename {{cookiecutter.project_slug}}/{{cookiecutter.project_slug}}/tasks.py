"""Background jobs; their schedule is in ``config/celery.py``.

A job may run twice, because it runs again if its worker is killed: make tasks idempotent. A task
that fails is retried up to three times.
"""

import logging

from celery import shared_task

logger = logging.getLogger(__name__)


@shared_task
def example(text: str) -> None:
    """Log ``text``."""
    logger.info("example: %s", text)
