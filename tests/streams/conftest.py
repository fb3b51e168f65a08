"""Fixtures that several files of tests of the streams share."""

from tests.streams.drift_days import watched

__all__ = ["watched"]
