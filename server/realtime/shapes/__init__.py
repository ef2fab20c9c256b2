"""Dialects of the protocol: everything inside is GA, and each other shape is one file here."""
