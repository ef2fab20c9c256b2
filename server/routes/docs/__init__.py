"""The page at /docs: what the server offers, from its own OpenAPI description."""
