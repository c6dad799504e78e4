from collections.abc import Callable

from mdstream._core.fanout.flush_scheduler import FlushScheduler
from mdstream._core.fanout.hub import Hub
from mdstream._core.fanout.instrument import Instrument
from mdstream._core.ingest.receiver import Receiver

class Intake:
    def __init__(self, hub: Hub, instrument: Instrument) -> None: ...
    def __call__(self, payload: bytes) -> int: ...

class BookIntake(Intake): ...
class TradeIntake(Intake): ...

class InstrumentReceiver(Receiver):
    book: Intake | None
    trades: Intake | None
    @property
    def heard_us(self) -> int: ...
    def __init__(
        self,
        fallback: Callable[[bytes, bytes], None],
        on_heard: Callable[[], None],
        scheduler: FlushScheduler,
    ) -> None: ...
    def check_at(self, due_us: int, calm_us: int = 0) -> None: ...
