"""The JetStream streams of the contract, and requests to them.

``MD_STATE`` keeps the last ``snap``, ``ref`` and ``status`` of each instrument. ``MD_LOG`` keeps every ``book`` and ``trade``
message for a while. ``MD_CTL`` keeps what was revoked. The first part that connects creates them; an existing stream is never changed.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NoReturn, Protocol

import nats.errors
import nats.js.errors
from nats.js import JetStreamContext, api

from mdstream.bus.denied import DeniedError
from mdstream.bus.options import StreamOptions
from mdstream.errors import BusConflict, BusError, BusUnavailable, ConfigError

logger = logging.getLogger(__name__)

MD_STATE: Final = "MD_STATE"
MD_LOG: Final = "MD_LOG"
MD_PAST: Final = "MD_PAST"
MD_CTL: Final = "MD_CTL"
MD_USAGE: Final = "MD_USAGE"
MD_DEMAND: Final = "MD_DEMAND"
MD_CANDLES: Final = "MD_CANDLES"
USAGE_SUBJECT: Final = "mdstream.usage"
DEMAND_SUBJECT: Final = "mdstream.demand"
CANDLE_SUBJECT: Final = "candle"
STATS_SUBJECT: Final = "stats"
LIVE_CANDLES_SUBJECT: Final = "mdstream.candles"
"""MD_CANDLES publishes what it has stored again, below this."""
LEASES: Final = "MD_LEASES"
"""A key-value bucket; its stream has ``KV_`` before the name."""
LEASES_STREAM: Final = f"KV_{LEASES}"
LEASES_SUBJECT: Final = f"$KV.{LEASES}"
SUBJECTS: Final = {
    MD_STATE: ("md.*.*.snap", "md.*.*.ref", "md.*.*.status"),
    MD_LOG: ("md.*.*.book", "md.*.*.trade"),
    MD_CTL: ("mdctl.revoke.>",),
    MD_USAGE: (f"{USAGE_SUBJECT}.*",),
    MD_DEMAND: (f"{DEMAND_SUBJECT}.*",),
    MD_CANDLES: (f"{CANDLE_SUBJECT}.*.*.*", f"{STATS_SUBJECT}.*.*"),
    LEASES_STREAM: (f"{LEASES_SUBJECT}.>",),
}

JETSTREAM_IS_OFF: Final = (
    "JetStream is off on this server; start it with `nats-server -js`, or put `jetstream {}` into its configuration"
    " (and enable it for the account)"
)

STATE_HISTORY: Final = 8
"""Messages of each subject that MD_STATE keeps. A reader that opens a book begins at its oldest snapshot, so that clients may resume at
what was published since: a writer stores one every five seconds."""

PAST_SLACK_S: Final = 600.0
"""How much longer than a delay everything must be kept: a gap in the past is recovered from what was stored before it."""

FULL_SHARE: Final = 0.95
"""A stream with so much of its bytes drops old messages because of them, or is about to."""

USAGE_DUPLICATES_S: Final = 600.0
"""How long the server recognises a message that a gateway sends again, because its confirmation was lost."""
CONTROL_MAX_BYTES: Final = 128 * 1024 * 1024
DEMAND_KEPT_S: Final = 3_600.0
DEMAND_MAX_BYTES: Final = 16 * 1024 * 1024
LEASES_MAX_BYTES: Final = 64 * 1024 * 1024

HEARD_NS: Final = 2_000_000_000
"""A replica whose leader has not heard it for longer has missed a heartbeat: the servers send one a second."""

NAME_IN_USE = 10058
STREAM_NOT_FOUND = 10059
SUBJECTS_OVERLAP = 10065
WRONG_LAST_SEQUENCE = 10071
NO_SPACE = (10023, 10028, 10047)
NO_CLUSTER = 10074
NOT_ENABLED = (10035, 10039, 10076)


class StoredAt(Protocol):
    """Something that a stream has kept."""

    @property
    def stored_us(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Stored:
    """A message of a stream; ``stored_us`` is when the server stored it, in µs since the Unix epoch."""

    payload: bytes
    stream_seq: int
    stored_us: int


@dataclass(frozen=True, slots=True)
class Kept:
    """Since when a stream has kept everything, in µs of the server's time."""

    since_us: int
    now_us: int
    full_bytes: int
    """Its bound in bytes, if that and not the age decides; else 0."""

    @classmethod
    def of(cls, info: dict[str, Any]) -> Kept:
        created_us, now_us = _us(info["created"]), time_us(info)
        bound, state = info["config"].get("max_bytes", -1), info["state"]
        if not 0 < bound * FULL_SHARE <= state["bytes"]:
            return cls(created_us, now_us, 0)
        return cls(max(created_us, _us(state["first_ts"])), now_us, bound)

    def shortage(self, needed_s: float) -> str | None:
        """What is wrong where so much is needed and the bytes do not suffice; None if they do."""
        kept_s = max((self.now_us - self.since_us) / 1e6, 1.0)
        if not self.full_bytes or kept_s >= needed_s:
            return None
        wanted = math.ceil(self.full_bytes * needed_s / kept_s)
        return (
            f"{MD_PAST} is full: its {self.full_bytes} bytes keep {kept_s:.0f} s, and the delay needs {needed_s:.0f} s. "
            f"What is older cannot be opened; `nats stream edit {MD_PAST} --max-bytes {wanted}` would do at the present rate"
        )


async def ensure_streams(js: JetStreamContext, options: StreamOptions) -> None:
    """Creates the streams that do not exist. Raises BusError, which says what to do, or BusUnavailable."""
    for config in (_state_config(options), _log_config(options)):
        await ensure(js, config)


async def ensure_past(js: JetStreamContext, options: StreamOptions, delay_s: float) -> Kept:
    """Creates MD_PAST if it does not exist; returns since when it has kept everything.

    Raises ConfigError if MD_LOG or MD_PAST keeps less than the delay needs, else BusError or BusUnavailable.
    """
    needed_s = delay_s + PAST_SLACK_S
    try:
        wanted = _past_config(options, needed_s)
        _check_replicas((await _create(js, wanted)).config, wanted)
        answers = {name: await info(js, name) for name in (MD_LOG, MD_PAST)}
    except (nats.errors.Error, TimeoutError) as error:
        explain(error, f"stream {MD_PAST} does not exist and cannot be created")
    for name, answer in answers.items():
        kept_s = answer["config"].get("max_age", 0) / 1e9
        if 0 < kept_s < needed_s:
            raise ConfigError(
                f"delay_ms is {delay_s * 1000:.0f}, for which {name} must keep {needed_s:.0f} s, and it keeps {kept_s:.0f} s; "
                f"`nats stream edit {name} --max-age {needed_s:.0f}s` changes that"
            )
    return Kept.of(answers[MD_PAST])


async def past_kept(js: JetStreamContext) -> Kept:
    """Since when MD_PAST has kept everything. Raises nats.errors.Error."""
    return Kept.of(await info(js, MD_PAST))


async def ensure_control(js: JetStreamContext, options: StreamOptions) -> None:
    """Creates ``MD_CTL`` if it does not exist. Raises nats.errors.Error."""
    await ensure_stream(js, _control_config(options))


async def ensure_usage_stream(
    js: JetStreamContext, options: StreamOptions, *, keep_s: float, max_bytes: int
) -> None:
    """Creates ``MD_USAGE`` if it does not exist: who used what, for ``keep_s``, in ``max_bytes`` at most. Raises nats.errors.Error."""
    await ensure_stream(js, _usage_config(options, keep_s, max_bytes))


async def ensure_demand_stream(js: JetStreamContext, options: StreamOptions) -> None:
    """Creates ``MD_DEMAND`` if it does not exist: which instruments each gateway serves. Raises nats.errors.Error."""
    await ensure_stream(js, _demand_config(options))


async def ensure_candle_stream(js: JetStreamContext, options: StreamOptions, *, keep: int) -> None:
    """Creates ``MD_CANDLES`` if it does not exist: ``keep`` messages of each subject. Raises nats.errors.Error."""
    await ensure_stream(js, _candle_config(options, keep))
    found = (await js.stream_info(MD_CANDLES)).config.republish
    if found is None or not str(found.dest).startswith(f"{LIVE_CANDLES_SUBJECT}."):
        logger.warning(
            "stream %s exists and is left as it is, but it does not republish to %s.>: gateways show no live candles",
            *(MD_CANDLES, LIVE_CANDLES_SUBJECT),
        )


async def ensure_leases(js: JetStreamContext, options: StreamOptions) -> None:
    """Creates the bucket ``MD_LEASES`` if it does not exist. Raises BusError, which says what to do, or BusUnavailable."""
    try:
        await ensure_stream(js, _leases_config(options))
    except (nats.errors.Error, TimeoutError) as error:
        explain(
            error,
            f"the key-value bucket {LEASES} does not exist and cannot be created here (`nats kv add {LEASES}`, as a user who may, "
            "creates it)",
        )


async def newest_stored(js: JetStreamContext, stream: str, subject: str) -> Stored | None:
    """The newest message on a subject, of the stream's leader, or None. Raises nats.errors.Error."""
    try:
        message = await js.get_last_msg(stream, subject)
    except nats.js.errors.NotFoundError as error:
        if error.err_code == STREAM_NOT_FOUND:
            raise
        return None
    stored_us = int(message.time.timestamp() * 1e6) if message.time is not None else 0
    return Stored(message.data or b"", message.seq or 0, stored_us)


async def info(js: JetStreamContext, stream: str) -> dict[str, Any]:
    """The whole answer to a question about a stream, as the server gave it. Raises nats.errors.Error."""
    answer: dict[str, Any] = await js._api_request(f"{js._prefix}.STREAM.INFO.{stream}", timeout=js._timeout)
    return answer


def is_in_touch(info: dict[str, Any]) -> bool:
    """Whether a stream's leader, whose answer this is, has heard most of its replicas lately."""
    replicas = (info.get("cluster") or {}).get("replicas") or []
    heard = 1 + sum(replica["active"] <= HEARD_NS and not replica.get("offline") for replica in replicas)
    return bool(2 * heard > 1 + len(replicas))


def created_us(info: dict[str, Any]) -> int:
    """When the stream was created, by the server's clock."""
    return _us(info["created"])


def time_us(info: dict[str, Any]) -> int:
    """The server's clock when it answered. Nanoseconds are cut off."""
    return _us(info["ts"])


def _us(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1e6)


def explain(error: Exception, what: str) -> NoReturn:
    """Raises the BusError for a failure of JetStream; it says what happened and what to do."""
    if isinstance(error, DeniedError):
        raise BusError(f"{what}: {error}") from error
    code = getattr(error, "err_code", None)
    if code in NOT_ENABLED:
        raise BusError(f"{what}: {JETSTREAM_IS_OFF}") from error
    if code in NO_SPACE:
        raise BusError(
            f"{what}: the server has no room for it ({_said(error)}); raise its max_file_store, or create the stream with fewer bytes"
        ) from error
    if code == NO_CLUSTER:
        raise BusError(f"{what}: nats_replicas is more than 1, and this server is in no cluster") from error
    if code == WRONG_LAST_SEQUENCE:
        raise BusConflict(f"{what}: {_said(error)}") from error
    if code == SUBJECTS_OVERLAP:
        raise BusError(
            f"{what}: another stream takes subjects md.*.*.* already; remove or narrow it"
        ) from error
    if isinstance(
        error, nats.js.errors.ServiceUnavailableError | nats.errors.NoRespondersError | TimeoutError
    ):
        raise BusUnavailable(f"{what}: JetStream does not answer ({_said(error)})") from error
    if isinstance(error, nats.js.errors.APIError):
        raise BusError(f"{what}: {_said(error)}") from error
    raise BusUnavailable(f"{what}: {_said(error)}") from error


def _said(error: Exception) -> str:
    if isinstance(error, nats.js.errors.APIError):
        return error.description or "no answer"
    if isinstance(error, nats.errors.ConnectionReconnectingError):
        return "the connection to NATS was lost meanwhile"
    return str(error).removeprefix("nats: ") or "no answer"


async def _create(js: JetStreamContext, config: api.StreamConfig) -> api.StreamInfo:
    """The stream as it is; it is created only if it does not exist."""
    try:
        return await js.stream_info(str(config.name))
    except nats.js.errors.NotFoundError:
        try:
            return await js.add_stream(config)
        except nats.js.errors.BadRequestError as error:
            if error.err_code != NAME_IN_USE:  # another process was faster, with its own options
                raise
            return await js.stream_info(str(config.name))


async def ensure(js: JetStreamContext, config: api.StreamConfig, what: str = "") -> api.StreamConfig:
    """As ``ensure_stream``; ``what``: how the error calls it. Raises BusError, which says what to do, or BusUnavailable."""
    try:
        return await ensure_stream(js, config)
    except (nats.errors.Error, TimeoutError) as error:
        explain(error, f"{what or f'stream {config.name}'} does not exist and cannot be created")


async def ensure_stream(js: JetStreamContext, config: api.StreamConfig) -> api.StreamConfig:
    """Creates a stream if it does not exist, and returns its configuration. Raises nats.errors.Error."""
    name = str(config.name)
    info = await _create(js, config)
    missing = sorted(set(config.subjects or ()) - set(info.config.subjects or ()))
    if missing:
        logger.warning(
            "stream %s exists and is left as it is, but it does not list %s: what is published there is not kept",
            name,
            ", ".join(missing),
        )
    _check_replicas(info.config, config)
    return info.config


def _check_replicas(found: api.StreamConfig, wanted: api.StreamConfig) -> None:
    have, want = found.num_replicas or 1, wanted.num_replicas or 1
    if have < want:
        logger.warning(
            "stream %s exists and is left as it is, but it has %d of %d copies; `nats stream edit %s --replicas %d` makes more",
            *(found.name, have, want, found.name, want),
        )


def _state_config(options: StreamOptions) -> api.StreamConfig:
    return api.StreamConfig(
        name=MD_STATE,
        description="mdstream: the last snap, ref and status of each instrument, and a few before",
        subjects=list(SUBJECTS[MD_STATE]),
        max_msgs_per_subject=STATE_HISTORY,
        storage=api.StorageType.FILE,
        num_replicas=options.replicas,
        allow_direct=True,
    )


def _past_config(options: StreamOptions, kept_s: float) -> api.StreamConfig:
    """A mirror keeps numbers and times of what it mirrors, and is not bound by its limits."""
    return api.StreamConfig(
        name=MD_PAST,
        description="mdstream: the snap, ref and status of the last while, for delayed gateways",
        mirror=api.StreamSource(name=MD_STATE),
        max_age=kept_s,
        max_bytes=options.past_max_bytes,
        discard=api.DiscardPolicy.OLD,
        storage=api.StorageType(options.log_storage),
        num_replicas=options.replicas,
        allow_direct=True,
        mirror_direct=True,
    )


def _log_config(options: StreamOptions) -> api.StreamConfig:
    return api.StreamConfig(
        name=MD_LOG,
        description="mdstream: book and trade messages, from which readers recover gaps",
        subjects=list(SUBJECTS[MD_LOG]),
        discard=api.DiscardPolicy.OLD,
        max_age=options.log_max_age_s,
        max_bytes=options.log_max_bytes,
        storage=api.StorageType(options.log_storage),
        num_replicas=options.replicas,
        allow_direct=True,
    )


def _control_config(options: StreamOptions) -> api.StreamConfig:
    return api.StreamConfig(
        name=MD_CTL,
        description="mdstream: what was revoked",
        subjects=list(SUBJECTS[MD_CTL]),
        max_msgs_per_subject=1,
        max_bytes=CONTROL_MAX_BYTES,
        discard=api.DiscardPolicy.NEW,  # a revocation is never forgotten to make room for another
        storage=api.StorageType.FILE,
        num_replicas=options.replicas,
        allow_direct=True,
    )


def _leases_config(options: StreamOptions) -> api.StreamConfig:
    """As clients of NATS create a key-value bucket."""
    return api.StreamConfig(
        name=LEASES_STREAM,
        description="mdstream: who writes which group of instruments",
        subjects=list(SUBJECTS[LEASES_STREAM]),
        max_msgs_per_subject=1,
        max_bytes=LEASES_MAX_BYTES,
        discard=api.DiscardPolicy.NEW,
        deny_delete=True,
        allow_rollup_hdrs=True,
        storage=api.StorageType.FILE,
        num_replicas=options.replicas,
        allow_direct=True,
    )


def _usage_config(options: StreamOptions, keep_s: float, max_bytes: int) -> api.StreamConfig:
    return api.StreamConfig(
        name=MD_USAGE,
        description="mdstream: who used which instrument in which minute",
        subjects=list(SUBJECTS[MD_USAGE]),
        discard=api.DiscardPolicy.OLD,
        max_age=keep_s,
        max_bytes=max_bytes,
        duplicate_window=min(USAGE_DUPLICATES_S, keep_s),
        storage=api.StorageType.FILE,
        num_replicas=options.replicas,
        allow_direct=True,
    )


def _candle_config(options: StreamOptions, keep: int) -> api.StreamConfig:
    """The writer replaces the statistics of an instrument by a rollup, so that one message of them is kept."""
    return api.StreamConfig(
        name=MD_CANDLES,
        description="mdstream: candles, and statistics of the last 24 hours",
        subjects=list(SUBJECTS[MD_CANDLES]),
        max_msgs_per_subject=keep,
        discard=api.DiscardPolicy.OLD,
        allow_rollup_hdrs=True,
        republish=api.RePublish(src=">", dest=f"{LIVE_CANDLES_SUBJECT}.>"),
        storage=api.StorageType.FILE,
        num_replicas=options.replicas,
        allow_direct=True,
    )


def _demand_config(options: StreamOptions) -> api.StreamConfig:
    return api.StreamConfig(
        name=MD_DEMAND,
        description="mdstream: which instruments each gateway serves, for one that starts",
        subjects=list(SUBJECTS[MD_DEMAND]),
        max_msgs_per_subject=1,
        max_age=DEMAND_KEPT_S,
        max_bytes=DEMAND_MAX_BYTES,
        discard=api.DiscardPolicy.OLD,
        storage=api.StorageType.FILE,
        num_replicas=options.replicas,
        allow_direct=True,
    )
