"""Conversations to token ids: items, turns, layouts, and what fits the context window."""
