"""Redis holds only what can be rebuilt: keys that name something erased are removed."""

from collections.abc import Sequence

import redis.asyncio as redis
from redis.exceptions import RedisError

from services.runtime.errors import Unavailable


async def forget(url: str, names: Sequence[str]) -> None:
    """Remove every key in which one of these ids stands. Raises Unavailable."""
    try:
        async with redis.from_url(url, socket_timeout=10, socket_connect_timeout=5) as client:
            for name in names:
                async for key in client.scan_iter(match=f"*{name}*", count=1000):
                    await client.unlink(key)
    except (RedisError, OSError) as error:
        raise Unavailable(f"Redis: {type(error).__name__}") from error
