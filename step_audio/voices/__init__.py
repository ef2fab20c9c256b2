"""Voices: read from folders, made from recordings, kept for users."""
