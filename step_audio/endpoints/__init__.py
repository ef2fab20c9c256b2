"""Clients of OpenAI-compatible servers: chat, speech recognition, speech."""
