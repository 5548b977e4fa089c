"""The OpenAPI document of a released version: its own features, raw columns, types, ranges and categories."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sterling.serving.fallback import CANARY_FAILED, ERROR, MISSING, OVERLOAD, STALE, TIMEOUT, UNKNOWN
from sterling.serving.inputs import Beyond, Inputs
from sterling.serving.outcomes import FEEDBACK, OUTCOMES
from sterling.serving.problems import MEDIA_TYPE
from sterling.serving.released import ServedModel
from sterling.serving.requests import MOST_NAMED, Limits
from sterling.serving.router import CANARY, EXPLORE, HOLDOUT, LIVE, SEVERAL

_Schema = dict[str, Any]
_LARGEST = 1.7976931348623157e308
_SINGLE = 3.4028234663852886e38
_WHOLE = re.compile(r"(u?)int(8|16|32|64)")
_ID = {
    "name": "X-Request-Id", "in": "header", "required": False, "description": "Your own name for the request.",
    "schema": {"type": "string", "pattern": r"^[\x21-\x7e]{1,128}$", "maxLength": 128},
}  # fmt: skip
_LOCAL = r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?$"
_TIME: _Schema = {"type": "string", "format": "date-time"}


def openapi(
    served: ServedModel, inputs: Inputs, limits: Limits, *, keys: bool, outcomes: bool, events: bool, beyond: Beyond
) -> _Schema:
    """The document of what a server answers.

    Args:
        served: The version that answers.
        inputs: What training knew of values.
        limits: How much one request may ask.
        keys: Whether requests need a key.
        outcomes: Whether outcomes are taken.
        events: Whether rows of sources are taken.
        beyond: What becomes of values that training did not know.
    """
    paths = {
        "/v1/predict": {"post": _post("Predict one row or many.", _predict(limits, served), "Prediction", keys=keys, role="predict")},
        "/version": _get("What answers, and what it reads.", {"type": "object"}, "predict" if keys else None),
        "/openapi.json": _get("This document.", {"type": "object"}),
        "/health": _get("Whether the process lives, and what troubles it.", {"type": "object", "required": ["status"]}),
        "/ready": _get("Whether requests are to be sent here.", {"type": "object"}, more={503: "not yet, or no more"}),
        "/metrics": _get("What was counted.", None, "operate" if keys else None),
    }  # fmt: skip
    if outcomes:
        paths |= {
            f"/v1/{kind}": {"post": _post(said, _rows(limits, {"$ref": f"#/components/schemas/{name}"}), "Taken", keys=keys, role="outcomes")}
            for kind, name, said in ((OUTCOMES, "Outcome", "Say what became of predictions."), (FEEDBACK, "Complaint", "Complain about predictions."))
        }  # fmt: skip
    if events:
        taking = _post("Take rows of a source.", _rows(limits, {"type": "object"}), "Taken", keys=keys, role="outcomes")
        taking["responses"]["404"] = {"$ref": "#/components/responses/Problem"}
        source = {"name": "source", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        paths["/v1/events/{source}"] = {"post": taking, "parameters": [source]}
    document: _Schema = {
        "openapi": "3.1.0",
        "info": {"title": "Sterling", "version": str(served.version), "description": f"Model {served.ref}."},
        "paths": paths,
        "components": {
            "schemas": _schemas(served, inputs, beyond),
            "responses": {"Problem": {"description": "Why it is not answered (RFC 9457).", "content": _content("Problem", MEDIA_TYPE.decode())}},
        },
    }  # fmt: skip
    if keys:
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return document


def _schemas(served: ServedModel, inputs: Inputs, beyond: Beyond) -> dict[str, _Schema]:
    found = {
        "Features": _features(served, inputs, beyond), "Prediction": _prediction(served), "Problem": _PROBLEM, "Taken": _TAKEN,
        "Outcome": _OUTCOME, "Complaint": _COMPLAINT,
    }  # fmt: skip
    return found | ({} if served.vector is None else {"RawRow": _raw_row(served, inputs, beyond)})


def _prediction(served: ServedModel) -> _Schema:
    """An answer; of several outputs it names them, and where these are classes the most probable one of each row."""
    if not (outputs := list(served.model.outputs)):
        return _PREDICTION
    score: _Schema = {"type": "number"}
    said = "What each number of a row is of; a list for each row where versions of other outputs answer some of them."
    by_row: _Schema = {"type": "array", "items": {"type": "array", "items": {"type": "string"}}}
    own: dict[str, _Schema] = {"outputs": {"anyOf": [{"const": outputs}, by_row], "description": said}}
    if served.model.predictor.answers == "probabilities":
        score |= {"minimum": 0, "maximum": 1}
        labels = "The most probable output of each row."
        own["labels"] = {"type": "array", "items": {"type": ["string", "null"]}, "description": labels}
    row = {"type": "array", "items": score}
    properties = {**_PREDICTION["properties"], **own, "scores": {"type": "array", "items": row}}
    return {**_PREDICTION, "required": [*_PREDICTION["required"], *own], "properties": properties}


def _features(served: ServedModel, inputs: Inputs, beyond: Beyond) -> _Schema:
    """A row that brings its features."""
    computed = {feature.name for feature in served.computed}
    columns = [column for column in served.model.columns if column.name not in computed]
    properties: dict[str, _Schema] = {}
    for column in columns:
        if column.kind == "category":
            properties[column.name] = _category(column.categories, beyond)
        else:
            properties[column.name] = _number(column.name, inputs, beyond)
    return _object(properties, list(properties))


def _raw_row(served: ServedModel, inputs: Inputs, beyond: Beyond) -> _Schema:
    """A row of the spine's source, as an event arrives."""
    assert served.vector is not None
    raw = served.vector.raw
    categories = {column.name: column.categories for column in served.model.columns if column.kind == "category"}
    properties: dict[str, _Schema] = {}
    for name, kind in raw.types.items():
        if name not in raw.needed:
            properties[name] = {}
        elif name in categories and kind.endswith("string"):
            properties[name] = _category(categories[name], beyond)
        else:
            properties[name] = _nullable(_of_type(name, kind, inputs, beyond))
    computed = [name for name, said in served.vector.sources.items() if said["from"] != "request"]
    return _object({n: s for n, s in properties.items() if n not in computed or n in raw.needed}, list(raw.needed))


def _of_type(name: str, kind: str, inputs: Inputs, beyond: Beyond) -> _Schema:  # noqa: PLR0911  one answer for each type
    if match := _WHOLE.fullmatch(kind):
        bits, signed = int(match[2]), not match[1]
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        return _ranged({"type": "integer", "minimum": low, "maximum": high}, name, inputs, beyond)
    if kind in {"double", "float"}:
        most = _LARGEST if kind == "double" else _SINGLE
        return _ranged({"type": "number", "minimum": -most, "maximum": most}, name, inputs, beyond)
    if kind == "bool":
        return {"type": "boolean"}
    if kind == "date32[day]":
        return {"type": "string", "format": "date"}
    if kind.startswith("timestamp["):
        return _TIME if "tz=" in kind else {"type": "string", "pattern": _LOCAL}
    if kind.startswith("decimal"):
        return _decimal(kind)
    return {"type": "string"}


def _decimal(kind: str) -> _Schema:
    """A decimal as a text of its digits, or a whole number."""
    precision, _, scale = kind.partition("(")[2].rstrip(")").partition(",")
    whole, places = int(precision) - int(scale), int(scale)
    return {
        "type": ["string", "integer"], "pattern": rf"^-?[0-9]{{1,{whole}}}(\.[0-9]{{1,{places}}})?$",
        "minimum": 1 - 10**whole, "maximum": 10**whole - 1,
    }  # fmt: skip


def _category(categories: Sequence[str], beyond: Beyond) -> _Schema:
    if beyond == "refuse":
        return {"type": ["string", "null"], "enum": [*categories, None]}
    return {"type": ["string", "null"], "examples": list(categories[:10])}


def _number(name: str, inputs: Inputs, beyond: Beyond) -> _Schema:
    return _nullable(_ranged({"type": "number", "minimum": -_LARGEST, "maximum": _LARGEST}, name, inputs, beyond))


def _ranged(schema: _Schema, name: str, inputs: Inputs, beyond: Beyond) -> _Schema:
    within = inputs.ranges.get(name)
    if within is None or beyond != "refuse":
        return schema
    low, high = max(schema["minimum"], within.low), min(schema["maximum"], within.high)
    return schema | {"minimum": low, "maximum": high}


def _nullable(schema: _Schema) -> _Schema:
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return schema | {"type": [*kinds, "null"]}


def _object(properties: Mapping[str, _Schema], required: Sequence[str]) -> _Schema:
    return {
        "type": "object", "properties": dict(properties), "required": list(required), "additionalProperties": False,
    }  # fmt: skip


def _predict(limits: Limits, served: ServedModel) -> _Schema:
    """A request: rows of either form, or one of them by itself."""
    features, raw = {"$ref": "#/components/schemas/Features"}, {"$ref": "#/components/schemas/RawRow"}
    more: dict[str, _Schema] = {"features": {"type": ["boolean", "null"]}, "unit": _UNIT, "explain": _EXPLAIN}
    forms = [_many(limits, features, more), features]
    if served.vector is not None:
        forms += [_many(limits, raw, more | {"predict_at": _nullable(_TIME)}), raw]
    return {"anyOf": forms}


def _many(limits: Limits, row: _Schema, more: Mapping[str, _Schema]) -> _Schema:
    rows = {"type": "array", "minItems": 1, "maxItems": limits.rows, "items": row}
    return _object({"rows": rows, **more}, ["rows"])


def _rows(limits: Limits, row: _Schema) -> _Schema:
    return {"anyOf": [_many(limits, row, {}), row]}


def _post(said: str, schema: _Schema, answer: str, *, keys: bool, role: str) -> _Schema:
    statuses = {
        "400": "no JSON, or no request", "405": "another method", "408": "the body did not come", "409": "the moment has passed",
        "413": "too large", "415": "no JSON by its type", "422": "a value that cannot be taken; field names it",
        "500": "a function of the project failed", "503": "no room, or storage cannot be reached; Retry-After says when",
    }  # fmt: skip
    statuses |= {"401": "no key", "403": "a key without the role", "429": "too often"} if keys else {}
    return {
        "summary": said, "operationId": said.rstrip(".").lower().replace(" ", "-"), "parameters": [_ID],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {"200": {"description": said, "content": _content(answer), "headers": _HEADERS}} | _refusals(statuses),
        **_secured(role if keys else None),
    }  # fmt: skip


def _get(
    said: str, schema: _Schema | None, role: str | None = None, *, more: Mapping[int, str] | None = None
) -> _Schema:
    content = (
        {"text/plain": {"schema": {"type": "string"}}} if schema is None else {"application/json": {"schema": schema}}
    )
    statuses = {"400": "no such request id", "405": "another method"} | {str(s): why for s, why in (more or {}).items()}
    statuses |= {"401": "no key", "403": "a key without the role", "429": "too often"} if role else {}
    operation = {
        "summary": said, "parameters": [_ID],
        "responses": {"200": {"description": said, "content": content, "headers": _HEADERS}} | _refusals(statuses),
        **_secured(role),
    }  # fmt: skip
    return {"get": operation}


def _refusals(statuses: Mapping[str, str]) -> dict[str, _Schema]:
    content = _content("Problem", MEDIA_TYPE.decode())
    return {
        status: {"description": why[0].upper() + why[1:] + ".", "content": content} for status, why in statuses.items()
    }


def _secured(role: str | None) -> _Schema:
    return {} if role is None else {"security": [{"key": []}], "description": f"The key needs the role {role}."}


def _content(name: str, media_type: str = "application/json") -> _Schema:
    return {media_type: {"schema": {"$ref": f"#/components/schemas/{name}"}}}


_HEADERS = {"X-Request-Id": {"schema": {"type": "string"}, "required": True}}
_EXPLAIN: _Schema = {
    "type": ["boolean", "integer", "null"], "minimum": 1, "maximum": MOST_NAMED, "description": "Explain each row: true, or how many features to name.",
}  # fmt: skip
_EXPLANATION = _object(
    {
        "of": {"enum": ["log odds", "number"], "description": "What is summed."},
        "calibrated": {"const": True, "description": "A curve calibrates the sum afterwards."},
        "base": {"type": "number", "description": "What is said before any feature is looked at."},
        "contributions": {"type": "object", "additionalProperties": {"type": "number"}},
        "rest": {"type": "number", "description": "What the features that are not named added together."},
        "sum": {"type": "number", "description": "The base, the contributions and the rest together."},
    },
    ["of", "base", "contributions", "sum"],
)
_FELL = _object(
    {
        "row": {"type": "integer"},
        "link": {"enum": ["live", "previous", "external", "cached", "rule", "constant"]},
        "reason": {"enum": [TIMEOUT, ERROR, OVERLOAD, MISSING, STALE, UNKNOWN, CANARY_FAILED]},
        "age_seconds": {"type": "number"},
        "name": {"type": "string", "description": "The model behind a URL that answered."},
        "version": {"type": ["string", "null"], "description": "Its version, as the project says."},
        "tried": {
            "type": "array",
            "description": "Models behind a URL that were asked before, and did not answer.",
            "items": _object({"name": {"type": "string"}, "reason": {"type": "string"}}, ["name", "reason"]),
        },
    },
    ["row", "link", "reason"],
)
_PREDICTION: _Schema = {
    "type": "object",
    "required": ["model", "version", "position", "request_id", "arm", "scores"],
    "properties": {
        "model": {"type": "string"}, "version": {"type": "integer"}, "position": {"type": "integer"},
        "request_id": {"type": "string"}, "scores": {"type": "array"},
        "arm": {"enum": [LIVE, CANARY, HOLDOUT, EXPLORE, SEVERAL]},
        "versions": {"type": "array", "items": {"type": "integer"}, "description": "The version of each row, where rows differ."},
        "arms": {"type": "array", "items": {"enum": [LIVE, CANARY, HOLDOUT, EXPLORE]}, "description": "The arm of each row, where rows differ."},
        "fallback": {"type": "array", "items": _FELL, "description": "Rows that something else answered than the version that was asked, and why."},
        "decisions": {"type": "array", "items": {"type": ["boolean", "null"]}, "description": "True to act, by the version's threshold."},
        "moment": {"type": "string", "description": "The moment that features were computed for."},
        "features": {"type": "array", "items": {"type": "object"}},
        "explanations": {"type": "array", "items": {"oneOf": [_EXPLANATION, {"type": "null"}]}, "description": "What each feature added; null where no model was asked."},
        "nulled": {
            "type": "array", "items": _object({"row": {"type": "integer"}, "field": {"type": "string"}}, ["row", "field"])
        },
    },
}  # fmt: skip
_PROBLEM: _Schema = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"type": "string"}, "title": {"type": "string"}, "status": {"type": "integer"}, "detail": {"type": "string"},
        "request_id": {"type": "string"}, "field": {"type": "string"}, "row": {"type": "integer"},
    },
}  # fmt: skip
_TAKEN: _Schema = {
    "type": "object",
    "required": ["offset", "taken", "repeated", "refused"],
    "properties": {
        "offset": {"type": "integer"}, "taken": {"type": "integer"}, "repeated": {"type": "integer"},
        "refused": {"type": "array", "items": _object({"row": {"type": "integer"}, "reason": {"type": "string"}}, ["row", "reason"])},
    },
}  # fmt: skip
_TEXT: _Schema = {"type": "string", "maxLength": 10_000}
_ROW: _Schema = {"type": ["integer", "null"], "minimum": 0, "maximum": 2_147_483_647}
_UNIT: _Schema = {
    "type": ["string", "null"], "minLength": 1, "maxLength": 256, "description": "Whom or what the request is about, such as a customer.",
}  # fmt: skip


def _about(more: Mapping[str, _Schema], required: Sequence[str]) -> _Schema:
    name: _Schema = {"type": "string", "minLength": 1, "maxLength": 256}
    at = _nullable(_TIME)
    by_request = _object(
        {"request_id": name, "unit": {"type": "null"}, "row": _ROW, "at": at, **more}, ["request_id", *required]
    )
    by_unit = _object(
        {"request_id": {"type": "null"}, "unit": name, "row": {"type": "null"}, "at": _TIME, **more},
        ["unit", "at", *required],
    )
    return {"anyOf": [by_request, by_unit]}


_OUTCOME = _about(
    {"outcome": {"type": ["number", "boolean", "string"], "minimum": -_LARGEST, "maximum": _LARGEST}}, ["outcome"]
)
_COMPLAINT = _about({"text": _TEXT, "kind": _nullable(_TEXT)}, ["text"])
