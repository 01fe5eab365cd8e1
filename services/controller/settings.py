"""What the controller reads from the environment."""

from pydantic import Field

from services.runtime.settings import RuntimeSettings


class Settings(RuntimeSettings):
    """Environment of `python -m services.controller`."""

    controller_host: str = "127.0.0.1"
    """The door is for the api alone: it believes the headers that say who asks."""
    controller_port: int = Field(default=3002, ge=0, le=65535)
    controller_group: str = "controller"
    """Kafka consumer group, which all replicas share."""
