"""Settings of the whole suite."""

from hypothesis import settings

# Shared cores make any deadline a lottery; speed is measured in tests/bench.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")
