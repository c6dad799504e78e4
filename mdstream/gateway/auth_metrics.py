"""The counters of authentication as Prometheus families; none of them where nobody is asked who he is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mdstream.auth.authenticator import Authenticator
from mdstream.auth.jwks import JwksKeys
from mdstream.auth.revocations import Revocations
from mdstream.gateway.admission import Admission
from mdstream.gateway.sessions import Sessions


class AuthCollector(Collector):
    """Reads the counters when it is asked. ``known``: whether all revocations are."""

    def __init__(
        self,
        authenticator: Authenticator,
        admission: Admission,
        sessions: Sessions,
        revocations: Revocations,
        known: Callable[[], bool],
    ) -> None:
        self._authenticator = authenticator
        self._admission = admission
        self._sessions = sessions
        self._revocations = revocations
        self._known = known

    def collect(self) -> Iterator[Metric]:
        yield from self._judged()
        yield from self._ended()
        yield from _key_families(self._authenticator.key_sets)

    def _judged(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "mdstream_auth_pending",
            "Clients whose credentials are being judged",
            value=self._admission.pending,
        )
        yield CounterMetricFamily(
            "mdstream_auth_judged",
            "Credentials that were judged because they were not remembered",
            value=self._authenticator.verified_total,
        )
        yield GaugeMetricFamily(
            "mdstream_auth_remembered",
            "Verified credentials that are remembered",
            value=self._authenticator.cached,
        )

    def _ended(self) -> Iterator[Metric]:
        lifetimes, single = self._sessions.lifetimes, self._sessions.single
        ended = CounterMetricFamily(
            "mdstream_auth_sessions_ended", "Sessions ended because of their credentials", labels=("why",)
        )
        ended.add_metric(("expired",), lifetimes.expired_total)
        ended.add_metric(("revoked",), lifetimes.revoked_total)
        ended.add_metric(("replaced",), 0 if single is None else single.replaced_total)
        yield ended
        yield GaugeMetricFamily(
            "mdstream_revocations_held",
            "Revocations that hold",
            value=len(self._revocations),
        )
        yield GaugeMetricFamily(
            "mdstream_revocations_known", "1 while every revocation is known here", value=int(self._known())
        )


def _key_families(sources: list[JwksKeys]) -> Iterator[Metric]:
    age = GaugeMetricFamily(
        "mdstream_jwks_age_seconds", "Time since the keys were last fetched; NaN: never", labels=("url",)
    )
    fetches = CounterMetricFamily("mdstream_jwks_fetches", "Fetches of keys", labels=("url",))
    failures = CounterMetricFamily("mdstream_jwks_failures", "Fetches of keys that failed", labels=("url",))
    for source in sources:
        age_s = source.age_s
        age.add_metric((source.url,), math.nan if age_s is None else age_s)
        fetches.add_metric((source.url,), source.fetches_total)
        failures.add_metric((source.url,), source.failures_total)
    yield from (age, fetches, failures)
