"""The JSON Schema of a project's definition."""

from __future__ import annotations

from typing import Any

import msgspec

from sterling.project.project import Project


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of what `sterling.project.definition.to_json` makes of a project."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(Project)}
