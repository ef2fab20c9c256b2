"""Text as it is written to text as it is read aloud: markup, numbers, sentences, styles."""
