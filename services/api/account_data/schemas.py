"""What people ask about their own data."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class DeleteRequest(BaseModel):
    """Why, if you want to say it."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(max_length=200)] = ""
