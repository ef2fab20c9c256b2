"""Tools that the assistant may call, and their seeded fakes."""
