"""Full-duplex behaviour: scripted dialogues in real time on any Realtime server."""
