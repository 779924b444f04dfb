"""What every test needs: Hypothesis profiles, one torch thread, no leftover state."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

pytest_plugins = ["pytester"]

slow = [HealthCheck.too_slow]
settings.register_profile("fast", max_examples=20, deadline=None, suppress_health_check=slow)
settings.register_profile(
    "ci", max_examples=20, deadline=None, derandomize=True, suppress_health_check=slow
)
settings.register_profile("thorough", max_examples=300, deadline=None, suppress_health_check=slow)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))
