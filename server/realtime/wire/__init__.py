"""The Realtime protocol: models of its events and objects. No socket, no await."""
