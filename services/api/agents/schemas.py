"""Agents and their sessions."""

from datetime import datetime

from pydantic import BaseModel, Field


class AgentAsset(BaseModel):
    """An asset that the agent speaks for; what the registry does not know is null."""

    asset_id: str
    name: str | None
    type: str | None
    capacity_mwhr: float | None
    min_mw: float | None
    max_mw: float | None


class Session(BaseModel):
    """One run of the agent's process."""

    session_id: str
    connected_at: datetime
    last_seen_at: datetime
    disconnected_at: datetime | None
    close_reason: str | None


class Agent(BaseModel):
    """A connected agent. `connected_at` changes only when it connects again."""

    agent_id: str
    connected: bool
    site_id: str | None
    site_name: str
    mode: str = Field(description="single: one asset; gateway: all of a site")
    version: str
    features: list[str]
    connected_at: datetime
    last_seen_at: datetime
    assets: list[AgentAsset]
    sessions: list[Session] = Field(description="the last five, newest first")
