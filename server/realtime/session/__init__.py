"""One realtime session: events in, commands, responses, events out."""
