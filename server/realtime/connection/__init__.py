"""Sockets of a realtime session: they may drop and come back, the session stays."""
