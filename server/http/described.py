"""The application as OpenAPI describes it: a body of another shape is a 400, as OpenAI has it."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI


class DescribedApi(FastAPI):
    """FastAPI whose description leaves out the 422 that it adds to every route with a body."""

    def openapi(self) -> dict[str, Any]:
        """Return the description; made once."""
        if self.openapi_schema is None:
            schema = super().openapi()
            for operations in schema["paths"].values():
                for operation in operations.values():
                    operation["responses"].pop("422", None)
            for name in ("HTTPValidationError", "ValidationError"):
                schema.get("components", {}).get("schemas", {}).pop(name, None)
        return super().openapi()
