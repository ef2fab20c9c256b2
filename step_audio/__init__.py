"""Step-Audio: a real-time speech assistant. Composition lives in `runtime`, commands in `cli`."""

__version__ = "0.1.0"
