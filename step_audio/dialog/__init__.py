"""What is said to whom, decided without I/O: prompt, parser, turn table; and the async runner."""
