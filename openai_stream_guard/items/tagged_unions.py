"""Pydantic's validators, told which member of a union a value belongs to.

A union that nobody gave a discriminator is validated by trying its members, all 59 of `ResponseStreamEvent`. Most
members are models with a required field of literal words (`type: Literal["message"]`) that no other member has, so
that at most one of them can take a value. In pydantic's own core schema such a union is replaced by a `tagged-union`:
pydantic-core then looks at the tag and tries one member. What is valid, and what becomes of it, does not change.

Only what stands in the schema counts: a model with validators, an own `__init__` or an alias for its tag has another
schema, and its union stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import SchemaError, SchemaValidator

Schema = dict[str, Any]
Validate = Callable[[Any], Any]

_NESTED = ("schema", "items_schema", "keys_schema", "values_schema", "extras_schema")
"""Where a schema holds another one."""
_NEVER_AN_OBJECT = ("str", "int", "float", "bool", "none", "literal", "list")
"""Schemas that take no JSON object, so that it can only be one of the models beside them."""
_ANEW = (None, False) if "_use_prebuilt" in (SchemaValidator.__text_signature__ or "") else ()
"""Arguments without which a class within the schema is validated by the validator that it already has (since pydantic
2.12; pydantic 2.11 always does so, and tags below a class are of no use there)."""


def validator(adapter: TypeAdapter[Any]) -> Validate:
    """What validates as this adapter does, with every union in it decided by its tag where there is one."""
    return _validator(adapter, adapter.core_schema, adapter.validate_python)


class TaggedUnion:
    """A union of models that a tag tells apart, with a validator for each member, made when it is first needed.

    Attributes:
        tag: the key that says which member a JSON object belongs to.
        words: what it may say.
    """

    def __init__(self, adapter: TypeAdapter[Any], tag: str, members: Mapping[str, Schema]) -> None:
        self._adapter, self._members = adapter, members
        self.tag, self.words = tag, frozenset(members)

    @classmethod
    def of(cls, adapter: TypeAdapter[Any]) -> TaggedUnion | None:
        """The union that this adapter validates; None where no tag decides it."""
        schema: Any = adapter.core_schema
        definitions = _definitions(schema)
        inner = schema["schema"] if schema["type"] == "definitions" else schema
        if inner["type"] != "union":
            return None
        found = _tag(inner["choices"], definitions)
        if found is None or len(found[1]) < len(inner["choices"]):
            return None
        tag, members = found
        return cls(adapter, tag, {word: member for member, words in members for word in words})

    def validator(self, word: str) -> Validate:
        """What validates an object of the member with this word, as the whole union would."""
        return _validator(self._adapter, self._members[word], self._adapter.validate_python)


def _validator(adapter: TypeAdapter[Any], schema: Any, otherwise: Validate) -> Validate:
    found = adapter.validator
    if type(found) is not SchemaValidator:  # a plugin's
        return otherwise
    rewriting = _Rewriting(_definitions(adapter.core_schema))
    try:
        decided = rewriting.whole(schema)
        if schema is adapter.core_schema and not rewriting.unions:
            return found.validate_python
        return SchemaValidator(decided, *(_ANEW if rewriting.unions else ())).validate_python
    except (KeyError, SchemaError):  # a schema of a shape that was not met so far
        return otherwise


def _definitions(schema: Any) -> dict[str, Schema]:
    return {entry["ref"]: entry for entry in schema["definitions"]} if schema["type"] == "definitions" else {}


class _Rewriting:
    """A schema rewritten, and those of the definitions that it refers to."""

    def __init__(self, definitions: dict[str, Schema]) -> None:
        self._definitions = definitions
        self._rewritten: dict[str, Schema] = {}
        self.unions = 0
        """How many unions are decided by a tag now."""

    def whole(self, schema: Schema) -> Any:
        """A schema that stands by itself."""
        rewritten = self._rewrite(schema["schema"] if schema["type"] == "definitions" else schema)
        if not self._rewritten:
            return rewritten
        return {"type": "definitions", "schema": rewritten, "definitions": list(self._rewritten.values())}

    def _rewrite(self, schema: Schema) -> Schema:
        kind = schema["type"]
        if kind == "definition-ref":
            self._define(schema["schema_ref"])
            return schema
        if kind == "union":
            return self._union(schema)
        nested = {key: self._rewrite(schema[key]) for key in _NESTED if key in schema}
        if kind == "model-fields":
            nested["fields"] = {name: self._rewrite(field) for name, field in schema["fields"].items()}
        return {**schema, **nested}

    def _define(self, reference: str) -> None:
        if reference not in self._rewritten:
            self._rewritten[reference] = {}  # being rewritten: a definition may refer to itself
            self._rewritten[reference] = self._rewrite(self._definitions[reference])

    def _union(self, schema: Schema) -> Schema:
        choices = schema["choices"]
        if any(type(choice) is tuple for choice in choices):  # with labels
            return schema
        found = _tag(choices, self._definitions)
        others = [choice for choice in choices if _resolved(choice, self._definitions)["type"] != "model"]
        if found is None or not all(other["type"] in _NEVER_AN_OBJECT for other in others):
            return {**schema, "choices": [self._rewrite(choice) for choice in choices]}
        self.unions += 1
        tag, members = found
        by_word: dict[str, Schema] = {}
        for member, words in members:
            by_word.update(dict.fromkeys(words, self._rewrite(member)))
        tagged = {"type": "tagged-union", "discriminator": tag, "choices": by_word}
        if others:
            return {**schema, "choices": [tagged, *map(self._rewrite, others)]}
        return {**tagged, "ref": schema["ref"]} if "ref" in schema else tagged


def _tag(choices: list[Any], definitions: dict[str, Schema]) -> tuple[str, list[tuple[Schema, tuple[str, ...]]]] | None:
    """The tag that tells all models among these choices apart, and what it says for each; None where there is none."""
    if any(type(choice) is tuple for choice in choices):
        return None
    models = [choice for choice in choices if _resolved(choice, definitions)["type"] == "model"]
    literals = [dict(_required_words(_resolved(model, definitions))) for model in models]
    if len(models) < 2:
        return None
    for tag in literals[0]:
        if all(tag in words for words in literals):
            words = [words[tag] for words in literals]
            if len({word for several in words for word in several}) == sum(map(len, words)):
                return tag, list(zip(models, words, strict=True))
    return None


def _resolved(schema: Any, definitions: dict[str, Schema]) -> Any:
    while schema["type"] == "definition-ref":
        schema = definitions[schema["schema_ref"]]
    return schema


def _required_words(model: Schema) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each field that has to be there and to say one of some words, with these; none where the class looks first."""
    fields = model["schema"]
    if fields["type"] != "model-fields" or model.get("custom_init") or model.get("root_model"):
        return
    for name, field in fields["fields"].items():
        literal = field["schema"]
        if literal["type"] == "literal" and "validation_alias" not in field:
            words = tuple(literal["expected"])
            if all(type(word) is str for word in words):
                yield name, words
