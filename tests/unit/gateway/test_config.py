from __future__ import annotations

from pathlib import Path

import pytest

from mdstream.errors import ConfigError
from mdstream.gateway.bus_link import bus_options
from mdstream.gateway.config import GatewayConfig, describe, load
from mdstream.gateway.config_sources import flag_name, variable_name
from mdstream.gateway.settings import settings_of

FIELDS = list(settings_of(GatewayConfig))
BAD_TEXT = {
    "nats": "http://127.0.0.1:4222",
    "port": "65536",
    "admin_port": "-1",
    "tls_cert": "/does/not/exist.pem",
    "depths": "7",
    "intervals_ms": "0,33",
    "heartbeat_ms": "99",
    "max_connections": "0",
    "max_message_bytes": "1k",
    "max_errors": "many",
    "log_level": "loud",
    "log_format": "xml",
    "node": "",
    "compression": "yes",
    "compression_level": "0",
    "drain_spread_ms": "1.5",
    "nats_port": "65536",
    "nats_password_file": "/does/not/exist",
    "limits_user_connections": "-1",
    "limits_exempt": "127.0.0.1/8",
    "proxies_trusted": "proxy.example",
    "proxies_protocol": "proxy-v1",
}


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_are_a_valid_configuration() -> None:
    config = load(environ={})
    assert config.nats == ("nats://127.0.0.1:4222",)
    assert (config.host, config.port, config.admin_port) == ("127.0.0.1", 8080, 8081)
    assert describe(config) == "all defaults"


def test_every_field_says_what_it_is_for() -> None:
    assert all(how.text and how.group for how in settings_of(GatewayConfig).values())
    assert set(GatewayConfig.__dataclass_fields__) == set(FIELDS)


def test_later_sources_win(tmp_path: Path) -> None:
    file = write(tmp_path / "g.toml", "port = 1\nadmin_port = 1\nbacklog = 1\n")
    environ = {"MDSTREAM_ADMIN_PORT": "2", "MDSTREAM_BACKLOG": "2", "UNRELATED": "x"}
    config = load(file, environ, {"backlog": "3"})
    assert (config.port, config.admin_port, config.backlog) == (1, 2, 3)


@pytest.mark.parametrize(("name", "text"), BAD_TEXT.items())
def test_a_bad_value_names_its_variable_and_its_flag(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=rf"^environment variable {variable_name(name)} (is|holds) "):
        load(environ={variable_name(name): text})
    with pytest.raises(ConfigError, match=rf"^{flag_name(name)} (is|holds) "):
        load(environ={}, flags={name: text})


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        ('port = "8080"', "whole number from 0 to 65535"),
        ("port = true", "whole number from 0 to 65535"),
        ("port = 80.0", "whole number from 0 to 65535"),
        ("heartbeat_ms = 1", "from 100 to 86400000 milliseconds"),
        ("depths = []", "some of 0, 1, 5, 10, 20, 50, 100"),
        ("depths = 20", "some of 0, 1, 5, 10, 20, 50, 100"),
        ("depths = [true]", "some of 0, 1, 5, 10, 20, 50, 100"),
        ("nats = []", "a URL, a list of URLs, or embedded"),
        ("nats = [4222]", "a URL, a list of URLs, or embedded"),
        ('nats = "nats://"', "nats://HOST:PORT"),
        ('nats = "nats://host:99999"', "nats://HOST:PORT"),
        ('log_level = "INFO"', "debug, info, warning, error"),
        ('host = "a\\nb"', "printable"),
        ("tls_cert = 1", "path of a file"),
        ('compression = "on"', "true or false"),
    ],
)
def test_a_bad_value_in_the_file_names_file_key_and_what_is_allowed(
    tmp_path: Path, line: str, allowed: str
) -> None:
    file = write(tmp_path / "g.toml", line + "\n")
    with pytest.raises(ConfigError) as caught:
        load(file, environ={})
    assert str(caught.value).startswith(f"{file}: {line.partition(' ')[0]} ")
    assert allowed in str(caught.value)


@pytest.mark.parametrize(("text", "value"), [("on", True), ("Off", False), ("true", True), ("false", False)])
def test_a_switch_reads_as_people_write_it(text: str, value: bool) -> None:
    config = load(environ={}, flags={"compression": text})
    assert config.compression is value
    assert describe(config) == ("all defaults" if value else "compression=off")


def test_an_unknown_key_names_its_place_and_the_nearest_key(tmp_path: Path) -> None:
    file = write(tmp_path / "g.toml", "hearbeat_ms = 10000\n")
    with pytest.raises(ConfigError, match=r"g\.toml: hearbeat_ms is not a key; did you mean heartbeat_ms\?"):
        load(file, environ={})
    with pytest.raises(ConfigError, match=r"MDSTREAM_PRT is not a key; did you mean MDSTREAM_PORT\?"):
        load(environ={"MDSTREAM_PRT": "1"})


@pytest.mark.parametrize(
    "variable", ["MDSTREAM_BUILD", "MDSTREAM_DATA", "MDSTREAM_SERVICE_HOST", "MDSTREAM_PORT_8080_TCP_ADDR"]
)
def test_variables_of_other_programs_with_our_prefix_are_left_alone(variable: str) -> None:
    assert load(environ={variable: "whatever"}) == load(environ={})


def test_a_file_that_is_no_toml_or_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml cannot be read: No such file"):
        load(tmp_path / "nowhere.toml", environ={})
    with pytest.raises(ConfigError, match=r"bad\.toml is not valid TOML: .*line 1"):
        load(write(tmp_path / "bad.toml", "port 1\n"), environ={})
    (tmp_path / "latin.toml").write_bytes(b'node = "\xe9"\n')
    with pytest.raises(ConfigError, match=r"latin\.toml is not valid TOML"):
        load(tmp_path / "latin.toml", environ={})


def test_fields_that_belong_together_name_where_they_were_set(tmp_path: Path) -> None:
    key = write(tmp_path / "key.pem", "x")
    with pytest.raises(
        ConfigError, match=r"tls_cert and tls_key must be given together \(set by --tls-key\)"
    ):
        load(environ={}, flags={"tls_key": str(key)})
    with pytest.raises(
        ConfigError, match="commands_burst is 2000; it must be at least commands_per_second, 3000"
    ):
        load(environ={"MDSTREAM_COMMANDS_PER_SECOND": "3000"})


def test_secrets_are_never_shown() -> None:
    config = load(
        environ={"MDSTREAM_NATS_PASSWORD": "hunter2", "MDSTREAM_NATS_USER": "u"},
        flags={"nats": "nats://u:hunter2@h:1"},
    )
    assert "hunter2" not in describe(config)
    assert "nats=nats://***@h:1" in describe(config)
    with pytest.raises(ConfigError) as caught:
        load(environ={"MDSTREAM_NATS_TOKEN": "hunter2\n"})
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        load(environ={}, flags={"nats": "ftp://u:hunter2@h:1"})
    assert "hunter2" not in str(caught.value)


def test_secrets_may_be_in_files(tmp_path: Path) -> None:
    file = write(tmp_path / "secret", "hunter2\n")
    flags = {"nats_user": "u", "nats_password_file": str(file)}
    config = load(environ={}, flags=flags)
    options = bus_options(config)
    assert (options.user, options.password, options.token) == ("u", "hunter2", None)
    assert bus_options(load(environ={}, flags={"nats_token_file": str(file)})).token == "hunter2"
    with pytest.raises(ConfigError, match="nats_password and nats_password_file: one of them is enough"):
        load(environ={"MDSTREAM_NATS_PASSWORD": "x"}, flags=flags)


def test_lists_are_read_from_text_and_toml_alike(tmp_path: Path) -> None:
    file = write(tmp_path / "g.toml", 'nats = ["nats://a:1", "tls://b:2"]\ndepths = [20, 0, 20]\n')
    config = load(file, environ={})
    assert config == load(environ={}, flags={"nats": "nats://a:1, tls://b:2", "depths": "20,0"})
    assert config.depths == (0, 20)


@pytest.mark.parametrize("name", FIELDS)
def test_names_translate_both_ways(name: str) -> None:
    assert flag_name(name).removeprefix("--").replace("-", "_") == name
    assert variable_name(name).removeprefix("MDSTREAM_").lower() == name


def test_a_table_of_the_file_is_the_beginning_of_its_keys_names(tmp_path: Path) -> None:
    file = write(
        tmp_path / "g.toml",
        '[limits]\nexempt = []\nuser_connections = 5\n[proxies]\ntrusted = ["10.0.0.0/8", "::ffff:192.0.2.0/120"]\n',
    )
    config = load(file, {}, {})
    assert (config.limits_exempt, config.limits_user_connections) == ((), 5)
    assert config.proxies_trusted == ("10.0.0.0/8", "192.0.2.0/24")
    with pytest.raises(
        ConfigError, match=r"limits_user_conections is not a key; did you mean limits_user_connections\?"
    ):
        load(write(tmp_path / "h.toml", "[limits]\nuser_conections = 5\n"), {}, {})


def test_networks_read_from_text_as_from_the_file() -> None:
    config = load(None, {"MDSTREAM_PROXIES_TRUSTED": "10.1.2.3, 2001:DB8::/32"}, {"limits_exempt": "none"})
    assert config.proxies_trusted == ("10.1.2.3/32", "2001:db8::/32")
    assert config.limits_exempt == ()
