"""What every public message is made of: a list of the fields that go out. What is not listed stays in."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict
from pydantic.json_schema import GenerateJsonSchema

from domain.kernel import Fact

VERSION = 1
"""Of all messages, and of the topics they go to. Another version is another topic beside this one."""
PREFIX = "counterfoil"

message_for: dict[type[Fact], type[Message]] = {}
"""The message that each published fact becomes. Filled as the classes are defined."""


class Part(BaseModel):
    """A part of a message. Filled by name from the part of the fact; what has no field here is left out."""

    model_config = ConfigDict(frozen=True, from_attributes=True, extra="ignore", use_attribute_docstrings=True)


class Message(Part):
    """One fact as the world sees it. A subclass names the fact, and every field of it that goes out.

    Readers hold on to what a message says, so a field is never removed and never changes its type. One that is added has
    a default: messages from before it are in the topic still.
    """

    slug: ClassVar[str] = ""
    """As in ``ticket.held``."""
    channel: ClassVar[str] = ""
    """The Kafka topic, one for each kind of stream."""
    kind: ClassVar[str] = ""
    """``ce_type``."""
    schema_id: ClassVar[str] = ""
    """``ce_dataschema``, and the ``$id`` of the schema."""

    at: datetime
    """When it was decided, UTC."""

    def __init_subclass__(cls, *, of: type[Fact], **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if of in message_for:
            raise TypeError(f"two messages for {of.topic!r}")
        cls.slug, cls.channel = of.topic, channel_of(of.topic)
        cls.kind, cls.schema_id = f"{PREFIX}.{cls.slug}", f"urn:{PREFIX}:message:{cls.slug}:v{VERSION}"
        message_for[of] = cls

    @classmethod
    def of(cls, fact: Fact) -> Self:
        return cls.__pydantic_validator__.validate_python(fact)  # type: ignore[no-any-return]

    def encode(self) -> bytes:
        """UTF-8 JSON without insignificant white space."""
        return self.__pydantic_serializer__.to_json(self)


def channel_of(fact_topic: str) -> str:
    """The Kafka topic of a fact's stream: ``counterfoil.tickets.v1`` for ``ticket.held``."""
    return f"{PREFIX}.{fact_topic.partition('.')[0]}s.v{VERSION}"


def schema(message: type[Message]) -> Mapping[str, Any]:
    """The JSON Schema of what the message's `encode` makes. Readers are to ignore fields that it does not name."""
    made = message.model_json_schema(mode="serialization", schema_generator=_Untitled)
    return {"$schema": _Untitled.schema_dialect, "$id": message.schema_id, **made, "title": message.kind}


class _Untitled(GenerateJsonSchema):
    """A title that only repeats the field's name is left out."""

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002
        return False
