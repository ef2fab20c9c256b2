"""The Realtime API over a websocket: wire models, translation, one session a socket."""
