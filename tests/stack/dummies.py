"""`python -m tests.stack.dummies SPECS`: a supervisor over small children. SPECS is JSON: name to source text."""

import asyncio
import json
import sys

from worker.stack.child import ChildSpec
from worker.stack.log_lines import Terminal
from worker.stack.supervisor import RestartPolicy, Supervisor

QUICK = RestartPolicy(first_s=0.2, most_s=0.8, stable_s=1.0)


async def supervise(sources: dict[str, str]) -> None:
    async with Supervisor(Terminal(), policy=QUICK) as supervisor:
        for name, source in sources.items():
            command = [sys.executable, "-u", "-c", source]
            await supervisor.unless_stopped(supervisor.keep(ChildSpec(name=name, command=command, grace_s=2.0)))
        supervisor.say("all started")
        await supervisor.stopped.wait()
    supervisor.say("all stopped")


if __name__ == "__main__":
    asyncio.run(supervise(json.loads(sys.argv[1])))
