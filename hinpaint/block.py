"""What every block of the configuration has in common."""

from pydantic import BaseModel, ConfigDict


class Block(BaseModel):
    """Base of all blocks: unknown keys are errors, values do not change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
