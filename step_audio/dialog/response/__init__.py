"""One response: ids from the engine, parsed, called tools, turned into sound."""
