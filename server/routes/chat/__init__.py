"""Chat completions: text and speech in, text and speech out."""
