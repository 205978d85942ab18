"""What every table of the run's config is."""

from pydantic import BaseModel, ConfigDict

Scalar = str | int | float | bool


def kebab(name: str) -> str:
    """Return a field's name as the config writes it."""
    return name.replace("_", "-")


class Table(BaseModel):
    """A table of the config: keys with dashes, no other keys, unchangeable."""

    model_config = ConfigDict(
        alias_generator=kebab, populate_by_name=True, extra="forbid", frozen=True
    )
