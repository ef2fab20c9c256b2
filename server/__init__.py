"""HTTP and websocket edge: wire formats in and out, nothing of models."""
