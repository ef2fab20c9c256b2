"""Values, seams, errors and token arithmetic that every other package shares; no model runtime."""
