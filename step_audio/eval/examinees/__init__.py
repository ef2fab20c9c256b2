"""Servers as examinees: over the Realtime protocol, and over REST."""
