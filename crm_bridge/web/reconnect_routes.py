"""`POST /api/channels/{name}/reconnect`: the QR code that links a channel's session to its phone again."""

import threading
import time
from collections.abc import Callable
from datetime import datetime

from apiflask import APIBlueprint
from flask import Response, jsonify
from pydantic import BaseModel, ConfigDict

from crm_bridge.web import openapi
from crm_bridge.web.bounded import Bounded, NoPlace, TookTooLong
from crm_bridge.web.problems import Problem
from crm_bridge.web.waking import Waker
from worker.domain.access import Scope
from worker.domain.errors import GatewayTrouble
from worker.domain.linking import CODE_PAUSE_S, CONNECTED
from worker.parts import Parts
from worker.reconnecting import Reconnection, Stage

#: WaSender may take this long, and that many people may wait for it at a time.
LONGEST_S = 45.0
AT_ONCE = 4


class Reconnecting(BaseModel):
    """`state` is WaSender's word: need_scan, connected, connecting, need_passkey… `qr_code` is the text to draw as a
    QR code; it can be scanned until `expires_at`. Whoever scans it has the WhatsApp account behind the channel.
    """

    model_config = ConfigDict(extra="forbid")

    channel: str
    state: str
    qr_code: str | None
    expires_at: datetime | None
    advice: str


class LatestCodes:
    """What WaSender answered lately, for those who ask again too soon. In memory only: such a code is a secret."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stages: dict[str, tuple[float, Stage]] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> Stage | None:
        with self._lock:
            oldest = self._clock() - CODE_PAUSE_S
            self._stages = {name: kept for name, kept in self._stages.items() if kept[0] > oldest}
            return self._stages[name][1] if name in self._stages else None

    def keep(self, name: str, stage: Stage) -> None:
        with self._lock:
            self._stages[name] = (self._clock(), stage)


def routes(parts: Parts, checker: Waker, latest: LatestCodes) -> APIBlueprint:
    blueprint = APIBlueprint("reconnect", __name__, url_prefix="/api/channels")
    calls = Bounded(most=AT_ONCE, wait_s=LONGEST_S)

    @blueprint.post("/<name>/reconnect")
    @openapi.describe(scope=Scope.OPERATE, gives={200: Reconnecting}, refuses=(404, 409, 502))
    def reconnect_channel(name: str) -> Response:
        """Have WaSender connect the channel's session, and get the QR code to scan if it needs one.

        Ask again for a fresh code when this one has expired; who asks within 15 seconds gets the same one. Needs a
        personal access token of WaSender (409 `no_access_token` without).
        """
        stage = latest.get(name)
        if stage is None:
            stage = _begin(calls, parts, name)
            if stage.qr_code is not None:
                latest.keep(name, stage)
        if stage.state == CONNECTED:
            checker.wake()
        answer = Reconnecting(
            channel=name,
            state=stage.state,
            qr_code=stage.qr_code.get_secret_value() if stage.qr_code else None,
            expires_at=stage.expires_at,
            advice=stage.advice,
        )
        response = jsonify(answer.model_dump(mode="json"))
        response.headers["Cache-Control"] = "no-store"
        return response

    return blueprint


def _begin(calls: Bounded, parts: Parts, name: str) -> Stage:
    try:
        return calls.run(lambda: Reconnection(parts, name).begin())
    except NoPlace:
        raise Problem(
            503,
            "busy",
            f"Other channels are being reconnected, and WaSender takes its time. Channel {name} has not been asked "
            "about; ask again in a few seconds.",
            Retry_After=f"{CODE_PAUSE_S:.0f}",
        ) from None
    except TookTooLong:
        raise GatewayTrouble(
            f"WaSender has not said within {LONGEST_S:.0f} s whether channel {name} can be reconnected.",
            code="timeout",
        ) from None
