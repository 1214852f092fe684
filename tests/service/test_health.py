"""Counters that `asrd status` and the metrics page are made from."""

from __future__ import annotations

import pytest

from service.health import Health


def test_stream_tells_percentiles_and_real_time_factor() -> None:
    health = Health(clock=iter([10.0, 25.0]).__next__)
    stream = health.stream("kitchen")
    stream.decoded_seconds, stream.compute_seconds = 20.0, 1.0
    stream.latencies.extend(i / 100 for i in range(100))
    document = health.document()
    assert document["uptime_seconds"] == 15.0
    found = document["streams"]["kitchen"]
    assert found["rtf"] == 0.05
    assert found["latency"] == {"p50": 0.5, "p95": 0.95, "max": 0.99}
    assert 1 < document["memory_mb"] < 100_000


def test_nothing_heard_is_no_error() -> None:
    found = Health().stream("kitchen").document()
    assert found["rtf"] is None
    assert found["latency"] == {"p50": None, "p95": None, "max": None}


def test_latencies_do_not_grow_without_bound() -> None:
    stream = Health().stream("kitchen")
    stream.latencies.extend(float(i) for i in range(10_000))
    assert len(stream.latencies) < 1000
    assert stream.document()["latency"]["max"] == pytest.approx(9999.0)
