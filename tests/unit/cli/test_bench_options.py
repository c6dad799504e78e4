"""What the options of ``mdstream bench`` come to; nothing is measured."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pytest

from mdstream.bench import results
from mdstream.bench.profiles import BUILT_IN, DEFAULT, FORMATS
from mdstream.bench.runner import Sweep
from mdstream.bench.setup import split_cpus
from mdstream.cli import bench_options, main
from mdstream.errors import ConfigError
from support.bench import made_pass, made_result, made_run


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    bench_options.configure(parser)
    return parser.parse_args(words)


def test_nothing_said_is_the_short_set_on_this_machine() -> None:
    args = parsed()
    assert [profile.name for profile in bench_options.chosen_profiles(args)] == list(DEFAULT)
    setup = bench_options.setup_of(args)
    assert (setup.urls, setup.nats, setup.repeat, setup.floor_s) == ((), None, 1, 2.0)
    usable = sorted(os.sched_getaffinity(0))
    assert setup.server_cpus == ((usable[0],) if len(usable) > 1 else ())
    assert setup.load_cpus == tuple(usable[1:])


def test_values_are_for_every_profile_that_is_named() -> None:
    args = parsed(
        *("--profile", "fan-out", "--profile", "burst", "--connections", "7", "--rate", "2.5"),
        *("--seconds", "0.5", "--format", "both", "--sweep", "rate=1,2", "--sweep", "connections=5"),
    )
    for profile in bench_options.chosen_profiles(args):
        assert (profile.connections, profile.rate, profile.seconds) == (7, 2.5, 0.5)
        assert profile.formats == FORMATS
    assert args.sweep == [Sweep("rate", (1, 2)), Sweep("connections", (5,))]


def test_several_gateways_may_be_named_either_way() -> None:
    args = parsed("--url", "ws://a:1,ws://b:2/v1/stream", "--url", "ws://c", "--nats", "nats://n:4222")
    setup = bench_options.setup_of(args)
    assert setup.gateways == [("a", 1), ("b", 2), ("c", 80)]
    assert setup.server_cpus == (), "what is not started is not pinned"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--url", "ws://a:1"], "--url needs --nats"),
        (["--url", "http://a:1", "--nats", "nats://n"], "is no WebSocket URL"),
        (["--url", "ws://a,wss://b", "--nats", "nats://n"], "with and without TLS"),
        (["--url", "wss://a", "--nats", "nats://n", "--tls"], "--tls is for a gateway that is started"),
        (
            ["--url", "wss://a", "--nats", "nats://n", "--workers", "2"],
            "--workers is for a gateway that is started",
        ),
        (["--ca", "/none"], "--ca is for a running gateway with TLS"),
        (["--url", "wss://a", "--nats", "nats://n", "--ca", "/none"], "--ca /none: there is no such file"),
        (["--url", "http://a", "--nats", "nats://n"], "is no WebSocket URL"),
        (["--url", "ws://a:x", "--nats", "nats://n"], "cannot be read"),
        (["--url", "ws://a/other", "--nats", "nats://n"], "has the path '/other'"),
        (["--admin", "http://a"], "--admin is of a gateway that runs"),
        (["--server-pid", "1"], "--server-pid is of a gateway that runs"),
        (
            ["--url", "ws://a", "--nats", "nats://n", "--port", "80"],
            "--port is for a gateway that is started",
        ),
        (["--nats", "http://n"], "nats: "),
        (
            ["--url", "ws://a", "--nats", "nats://n", "--authenticate"],
            "--authenticate is for a gateway that is started",
        ),
        (["--token", "x", "--authenticate"], "give one of them"),
        (["--server-cpus", "4095"], "--server-cpus names CPU 4095; this process may use"),
    ],
)
def test_what_does_not_go_together_is_told(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        bench_options.setup_of(parsed(*words))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sweep", "x=1"], "'x=1' is no sweep; it reads FIELD=A,B,… with FIELD one of connections, rate"),
        (["--sweep", "rate"], "'rate' is no sweep"),
        (["--sweep", "rate=a"], "'a' must be a number"),
        (["--connections", "-1"], "must be a whole number from 0 on"),
        (["--seconds", "nan"], "'nan' must be a number"),
        (["--repeat", "0"], "must be a whole number from 1 on"),
        (["--floor-seconds", "601"], "'601' must be at most 600 seconds"),
        (["--server-cpus", "3-1"], "'3-1' is no list of CPUs; it reads 0,2-3"),
        (["--format", "xml"], "invalid choice: 'xml'"),
        (["--conn"], "unrecognized arguments: --conn"),
    ],
)
def test_what_cannot_be_read_is_told(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["bench", *words])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_cpus_are_split() -> None:
    usable = sorted(os.sched_getaffinity(0))
    assert split_cpus((usable[-1],), None) == ((usable[-1],), tuple(usable[:-1]))
    assert split_cpus((), None) == ((), ()), "nothing is pinned"


def test_each_worker_has_a_cpu_as_far_as_there_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(4)))
    assert split_cpus(None, None, 2) == ((0, 1), (2, 3))
    assert split_cpus(None, None, 8) == ((0, 1, 2), (3,))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {5})
    assert split_cpus(None, None, 2) == ((), ())


def test_places_for_results_are_looked_at_before_minutes_have_passed(tmp_path: Path) -> None:
    bench_options.check_files(parsed("--json", str(tmp_path / "r.json"), "--report", str(tmp_path / "r.md")))
    for words in (("--json", "/none/r.json"), ("--report", "/none/r.html"), ("--report", "r.pdf")):
        with pytest.raises(ConfigError, match=words[1]):
            bench_options.check_files(parsed(*words))


def test_list_explains_all_profiles(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(BUILT_IN) + 1
    assert all(
        any(name in line and profile.summary in line for line in lines) for name, profile in BUILT_IN.items()
    )


def test_a_profile_that_is_not_there_is_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--profile", "fanout"]) == 2
    assert capsys.readouterr().err == "mdstream: there is no profile 'fanout'; did you mean fan-out?\n"


# ---- compare and show


def test_compare_tells_what_became_worse_and_fails_where_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = tmp_path / "a.json", tmp_path / "b.json"
    results.save(made_result(), before)
    results.save(made_result(made_run("fan-out", "msgpack", None, made_pass(cpu_s=4.5))), after)
    files = [str(before), str(after)]
    assert main(["bench", "compare", *files]) == 0
    shown = capsys.readouterr().out
    assert "1.50×" in shown and "worst: CPU per update × floor of fan-out msgpack, 1.50× worse" in shown
    assert main(["bench", "compare", *files, "--fail-above", "1.6"]) == 0
    assert main(["bench", "compare", *files, "--fail-above", "1.2"]) == 1
    assert main(["bench", "compare", *files, "--fail-above", "1.2", "--noise", "0.6"]) == 0
    assert main(["bench", "compare", *reversed(files), "--fail-above", "1.2"]) == 0


def test_compare_needs_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    assert capsys.readouterr().err.endswith("a cannot be read: No such file or directory\n")


def test_show_gives_the_report_and_the_verdict_of_a_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, page = tmp_path / "r.json", tmp_path / "r.html"
    results.save(made_result(), file)
    assert main(["bench", "show", str(file), "--report", str(page)]) == 0
    assert "fan-out" in capsys.readouterr().out
    assert "<svg" in page.read_text()
    results.save(made_result(runs=[]), file)
    assert main(["bench", "show", str(file)]) == 1, "nothing was measured"


def test_a_token_comes_by_the_option_or_else_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MDSTREAM_TOKEN", raising=False)
    assert bench_options.setup_of(parsed()).token is None
    monkeypatch.setenv("MDSTREAM_TOKEN", "from.the.environment")
    assert bench_options.setup_of(parsed()).token == "from.the.environment"
    setup = bench_options.setup_of(parsed("--token", "x"))
    assert setup.token == "x" and "x'" not in repr(setup)


def test_that_clients_brought_tokens_is_recorded_and_no_token_is() -> None:
    for args in (
        parsed("--authenticate"),
        parsed("--authenticate", "fresh", "--tls", "--workers", "2"),
        parsed("--token", "secret"),
    ):
        setup = bench_options.setup_of(args)
        options = bench_options.recorded_options(args, setup)
        assert options.get("authenticate") == setup.authenticate
        assert ("tls" in options, options.get("workers", 1)) == (setup.tls, setup.workers)
        assert "secret" not in str(options)


def test_a_running_gateway_with_tls() -> None:
    setup = bench_options.setup_of(parsed("--url", "wss://a.example", "--nats", "nats://n"))
    assert setup.gateways == [("a.example", 443)]
    assert setup.secure and not setup.tls


def test_one_worker_has_nothing_to_be_compared_with(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "scaling", "--workers", "0"])
    assert main(["bench", "scaling", "--workers", "1"]) == 2
    assert "it is compared with one, so it must be 2 or more" in capsys.readouterr().err
