"""The tools that nano was trained with, and their seeded fakes."""
