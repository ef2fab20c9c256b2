"""The public evaluation sets, read as they are published. `catalogue.py` is their table."""
