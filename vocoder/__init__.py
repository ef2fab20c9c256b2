"""The vocoder: token groups in, sound out (flow matching, then HiFT)."""
