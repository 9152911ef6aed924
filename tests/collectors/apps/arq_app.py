"""Real jobs of arq: `arq_app.py fill|work|look URL`."""

import asyncio
import json
import sys
from collections import Counter
from typing import Any

from arq import create_pool, run_worker
from arq.connections import RedisSettings
from arq.jobs import Job
from arq.worker import Function, func


async def fine(ctx: dict[str, Any]) -> None:
    """Does nothing."""


async def hold(ctx: dict[str, Any]) -> None:
    """Runs until it is let go."""
    await ctx["redis"].rpush("started", "1")
    await ctx["redis"].blpop(["go"], 60)


FUNCTIONS: list[Function] = [func(fine, name="fine"), func(hold, name="hold")]


async def fill(settings: RedisSettings) -> None:
    """Two that hold, three that wait, one for later."""
    pool = await create_pool(settings)
    for number, name in enumerate(["hold", "hold", "fine", "fine", "fine"]):
        await pool.enqueue_job(name, _job_id=f"job-{number}")
    await pool.enqueue_job("fine", _job_id="job-5", _defer_by=3600)
    await pool.aclose()


async def look(settings: RedisSettings) -> None:
    """What arq says of each job."""
    pool = await create_pool(settings)
    statuses = Counter([(await Job(f"job-{number}", pool).status()).value for number in range(6)])
    print(json.dumps(statuses))
    await pool.aclose()


def main(command: str, url: str) -> None:
    """Put jobs in, work, or print what arq itself says."""
    settings = RedisSettings.from_dsn(url)
    if command == "work":
        asyncio.set_event_loop(asyncio.new_event_loop())
        run_worker({"functions": FUNCTIONS, "redis_settings": settings, "max_jobs": 2})
    else:
        asyncio.run((fill if command == "fill" else look)(settings))


if __name__ == "__main__":
    main(*sys.argv[1:])
