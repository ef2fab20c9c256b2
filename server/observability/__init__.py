"""What the operator sees: metrics, spans, traces of single sessions."""
