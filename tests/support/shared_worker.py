"""The worker that the tabs of the trading page share, by the browser's own protocol: Playwright does not show such workers."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any


class SharedWorker:
    def __init__(self, session: Any, number: str) -> None:
        self._session = session
        self._number = number
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        session.on("Target.receivedMessageFromTarget", self._take)

    @classmethod
    async def of(cls, browser: Any) -> SharedWorker:
        """The only one of this browser."""
        session = await browser.new_browser_cdp_session()
        found = await session.send("Target.getTargets")
        (target,) = (each for each in found["targetInfos"] if each["type"] == "shared_worker")
        attach = {"targetId": target["targetId"], "flatten": False}
        return cls(session, (await session.send("Target.attachToTarget", attach))["sessionId"])

    async def evaluate(self, script: str) -> Any:
        """The value of an expression; of a promise, what it is kept with."""
        asked = {"expression": script, "awaitPromise": True, "returnByValue": True}
        return (await self.send("Runtime.evaluate", asked))["result"]["value"]

    async def end(self) -> None:
        """It is gone as soon as nobody looks into it any more."""
        await self.evaluate("setTimeout(close, 100)")
        await self._session.send("Target.detachFromTarget", {"sessionId": self._number})

    async def send(self, method: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
        number = next(self._ids)
        self._answers[number] = asyncio.get_running_loop().create_future()
        message = json.dumps({"id": number, "method": method, "params": parameters or {}})
        await self._session.send(
            "Target.sendMessageToTarget", {"sessionId": self._number, "message": message}
        )
        return await self._answers[number]

    def _take(self, event: dict[str, Any]) -> None:
        said = json.loads(event["message"])
        answer = self._answers.pop(said.get("id", 0), None)
        if answer is not None:
            answer.set_result(said.get("result", {}))
