"""Helpers of the routes: bodies, errors, uploads, streams."""
