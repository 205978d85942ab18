"""Reading the TOML files of a site's folder: unknown keys and bad values name the mend."""

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from fedretune.errors import UserError, one_of


class Table(BaseModel):
    """A table of a file: keys with dashes, no other keys, unchangeable."""

    model_config = ConfigDict(
        alias_generator=lambda name: name.replace("_", "-"), extra="forbid", frozen=True
    )


Read = TypeVar("Read", bound=Table)


def read_table(path: Path, kind: type[Read]) -> Read:
    """Return a file as a `kind`.

    Raises
    ------
    UserError
        The file cannot be read, is no TOML, or has an unknown key or a bad value; names it.
    """
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"Cannot read {path} ({error.strerror}): `fedretune site init` makes it."
        ) from error
    except ValueError as error:  # bad TOML or bad UTF-8
        raise UserError(f"{path} is not valid TOML: {error}.") from error
    allowed = [str(field.alias) for field in kind.model_fields.values()]
    for key in values:
        one_of(f"key in {path}", key, allowed)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path}: '{key}' cannot be {first['input']!r}: {first['msg']}.") from error
