from flask import Flask
from prometheus_client import REGISTRY

from {{ cookiecutter.project_slug }}.core.cache import cache


def total(name: str) -> float:
    return REGISTRY.get_sample_value(f"cache_{name}_total") or 0


def test_hits_and_misses_of_the_cache_are_counted(app: Flask) -> None:
    @cache.memoize()
    def one() -> int:
        return 1

    hits, misses = total("hits"), total("misses")

    with app.app_context():
        assert [one(), one(), one()] == [1, 1, 1]

    assert (total("hits"), total("misses")) == (hits + 2, misses + 1)
