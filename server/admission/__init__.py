"""Who is let in, how many, and how fast they may send."""
