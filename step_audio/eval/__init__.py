"""Measurement: the independent judge, error rates, latency, the table of bars."""
