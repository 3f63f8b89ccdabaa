"""What every section has in common: frozen, and an unknown key is an error."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class Section(BaseModel):
    """A part of the project file."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse `true` where a number belongs: it would be taken for 1."""
        if isinstance(value, bool) and info.field_name is not None:
            wanted = str(cls.model_fields[info.field_name].annotation)
            if "bool" not in wanted and ("int" in wanted or "float" in wanted):
                raise ValueError(f"{str(value).lower()} is not a number")
        return value
