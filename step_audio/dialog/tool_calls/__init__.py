"""Tool calls of an answer: chosen, run in the background, told in the conversation."""
