from __future__ import annotations

from pathlib import Path

import pytest

from mdstream.bus.options import BusOptions
from mdstream.errors import ConfigError


def test_a_list_of_urls_is_split_and_shown_without_secrets() -> None:
    options = BusOptions.parse("nats://joe:hunter2@a:4222, tls://b:4333")
    assert options.urls == ("nats://joe:hunter2@a:4222", "tls://b:4333")
    assert options.where == "nats://***@a:4222, tls://b:4333"
    assert "hunter2" not in repr(options)
    assert "hunter2" not in repr(BusOptions(user="joe", password="hunter2"))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"urls": ()}, "no URL was given"),
        ({"urls": ("localhost",)}, "'localhost' must read nats://host:4222"),
        ({"urls": ("http://localhost",)}, "must read nats://"),
        (
            {"urls": ("nats://x:y@localhost:port",)},
            r"port of URL 'nats://\*\*\*@localhost:port' must be a number",
        ),
        ({"user": "joe"}, "user and password must be given together"),
        ({"user": "joe", "password": "p", "token": "t"}, "user and token were given"),
        ({"tls_key": Path("key.pem")}, "tls_key was given without tls_cert"),
        ({"credentials": Path("missing.creds")}, "credentials 'missing.creds' is no file"),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(more: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        BusOptions(**more)


def test_a_file_that_holds_no_certificate_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("not a certificate")
    with pytest.raises(ConfigError, match=r"TLS files .*ca\.pem cannot be used"):
        BusOptions(tls_ca=path).ssl_context()


@pytest.mark.parametrize(("url", "wanted"), [("nats://a:4222", False), ("tls://a:4222", True)])
def test_tls_is_wanted_where_the_url_says_so(url: str, wanted: bool) -> None:
    options = BusOptions((url,))
    assert options.wants_tls is wanted
    assert (options.ssl_context() is not None) is wanted
