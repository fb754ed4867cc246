"""JSON schemas as Python types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Schema = Mapping[str, Any]
SCALARS = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}


@dataclass
class Types:
    """Names types; what a type needs is noted in `used` (models) and `inputs` (objects within bodies).

    Args:
        components: the document's schemas.
        is_input: whether types are of arguments rather than of answers.
    """

    components: Mapping[str, Schema]
    is_input: bool = False
    used: set[str] = field(default_factory=set)
    inputs: dict[str, Schema] = field(default_factory=dict)

    def name(self, schema: Schema) -> str:
        """The type of what `schema` describes."""
        if "$ref" in schema:
            name = str(schema["$ref"]).rpartition("/")[2]
            self.used.add(name)
            is_open = not self.is_input and "enum" in self.components[name]
            return f"{name} | str" if is_open else name
        for word in ("anyOf", "oneOf"):
            if word in schema:
                return self._union(schema, schema[word])
        if "const" in schema:
            return f"Literal[{_quote(schema['const'])}]"
        if "enum" in schema:
            return self._choice(schema)
        kind = schema.get("type")
        if kind == "array":
            return self._array(schema)
        if kind == "object":
            return self._object(schema)
        if kind == "string":
            return {"binary": "Picture", "date-time": "datetime"}.get(schema.get("format", ""), "str")
        return SCALARS[kind] if kind else "Any"

    def _union(self, schema: Schema, branches: list[Schema]) -> str:
        names = list(dict.fromkeys(self.name(each) for each in branches))
        names.sort(key=lambda name: name == "None")
        union = " | ".join(names)
        if "discriminator" in schema and not self.is_input:
            return f'Annotated[{union}, Field(discriminator="{schema["discriminator"]["propertyName"]}")]'
        return union

    def _choice(self, schema: Schema) -> str:
        same = [name for name, each in self.components.items() if each.get("enum") == schema["enum"]]
        named = schema.get("title") if schema.get("title") in same else (same[0] if same else None)
        if named is not None:
            self.used.add(named)
        words = named or f"Literal[{', '.join(_quote(each) for each in schema['enum'])}]"
        # A newer service may answer words that are not known here; nobody may send one.
        return words if self.is_input else f"{words} | str"

    def _array(self, schema: Schema) -> str:
        if "prefixItems" in schema:
            return f"tuple[{', '.join(self.name(each) for each in schema['prefixItems'])}]"
        inner = self.name(schema.get("items", {}))
        return f"Sequence[{inner}]" if self.is_input else f"list[{inner}]"

    def _object(self, schema: Schema) -> str:
        if "properties" not in schema:
            return "Mapping[str, Any]" if self.is_input else "dict[str, Any]"
        assert self.is_input, "an answer has a schema without a name"
        name = f"{schema['title']}Input"
        self.inputs[name] = schema
        return name


def _quote(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)
