"""The OpenAPI document as a witness: every answer that any test here gets is held against it."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any, NamedTuple, Protocol

import jsonschema_rs

PARAMETER = re.compile(r"\{[^}]+\}")


class Answered(Protocol):
    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> dict[str, str]: ...

    @property
    def body(self) -> bytes: ...


class Operation(NamedTuple):
    template: str
    pattern: re.Pattern[str]
    responses: dict[str, Any]


class Document:
    def __init__(self, document: dict[str, Any]) -> None:
        self._components = {
            "schemas": {name: _closed(name, s) for name, s in document["components"]["schemas"].items()}
        }
        self._operations: dict[str, list[Operation]] = {}
        for template, methods in document["paths"].items():
            pattern = re.compile(PARAMETER.sub("[^/]+", template))
            for method, operation in methods.items():
                found = Operation(template, pattern, operation["responses"])
                self._operations.setdefault(method.upper(), []).append(found)

    def check(self, method: str, path: str, answer: Answered) -> None:
        """Its status, its content type and its body are as the document says; what has no operation is let be."""
        route = path.partition("?")[0]
        for operation in self._operations.get(method, ()):
            if operation.pattern.fullmatch(route) is not None:
                self._check(f"{method} {operation.template}", operation.responses, answer)
                return

    def _check(self, name: str, responses: dict[str, Any], answer: Answered) -> None:
        assert str(answer.status) in responses, f"{name} is not said to answer {answer.status}"
        content = responses[str(answer.status)].get("content", {})
        if not answer.body:
            assert not content, f"{name} is said to answer {answer.status} with {list(content)}"
            return
        media_type = answer.headers["content-type"].partition(";")[0]
        assert media_type in content, f"{name} is not said to answer {answer.status} with {media_type}"
        if media_type.endswith("x-ndjson"):
            assert all(isinstance(json.loads(line), dict) for line in answer.body.splitlines()), f"{name}: no object"
        elif media_type.endswith("json"):
            validator = self._validator(json.dumps(content[media_type]["schema"]))
            mistakes = [error.message for error in validator.iter_errors(json.loads(answer.body))]
            assert not mistakes, f"{name} answers {answer.status} with what it is not said to: {mistakes[:3]}"

    @cache  # noqa: B019 - there is one document
    def _validator(self, schema: str) -> jsonschema_rs.Draft202012Validator:
        return jsonschema_rs.Draft202012Validator(json.loads(schema) | {"components": self._components})


def _closed(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Answers hold what the document says and no more; only problems have members of their own."""
    if name == "ProblemDetails" or "properties" not in schema:
        return schema
    return schema | {"additionalProperties": False}
