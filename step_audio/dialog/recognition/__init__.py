"""Words of spoken questions by a speech recognizer, also while they are spoken."""
