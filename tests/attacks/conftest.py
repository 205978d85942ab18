"""What the tests of attacks and failures share."""

from tests.attacks.staged_runs import runs

__all__ = ["runs"]
