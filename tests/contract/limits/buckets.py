"""Buckets of the tests, by what they count."""

from shipway.gateway.quota import Bucket, Measure


def requests(name: str, capacity: int, per_min: float) -> Bucket:
    return Bucket(f"acme/{name}/requests", "key", Measure.REQUESTS, capacity, per_min)


def tokens(name: str, capacity: int, per_min: float) -> Bucket:
    return Bucket(f"acme/{name}/tokens", "key", Measure.TOKENS, capacity, per_min)


def places(name: str, capacity: int) -> Bucket:
    return Bucket(f"acme/{name}/places", "key", Measure.PLACES, capacity)


def daily(name: str, capacity: int) -> Bucket:
    return Bucket(f"acme/{name}/daily", "tenant", Measure.DAILY_USD, capacity)


def monthly(name: str, capacity: int) -> Bucket:
    return Bucket(f"acme/{name}/monthly", "tenant", Measure.MONTHLY_USD, capacity)
