"""Turns: when the user speaks, what they said so far, and what that means for an answer."""
