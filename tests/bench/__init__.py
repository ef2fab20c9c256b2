"""Benchmarks: each warms up, measures one thing, and prints one JSON object as its last line."""
