"""The file that says who is told what, and what is refused of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mdstream.bus.activity import MD_ACTIVITY, What
from mdstream.bus.topic_streams import MD_EVENTS
from mdstream.errors import ConfigError
from mdstream.webhooks.hooks import TYPES, Hook, load_hooks
from support.webhooks import OLD_SECRET, SECRET

GOOD = {"name": '"crm"', "url": '"https://crm.example.com/x"', "secret_env": '"S"', "types": '["*"]'}
ENVIRON = {"S": SECRET, "OLD": OLD_SECRET, "BAD": "hunter2"}


def text_of(**changes: str | None) -> str:
    lines = [f"{key} = {value}" for key, value in {**GOOD, **changes}.items() if value is not None]
    return "\n".join(["[[hooks]]", *lines, ""])


def load(folder: Path, text: str) -> tuple[Hook, ...]:
    file = folder / "hooks.toml"
    file.write_text(text)
    return load_hooks(file, ENVIRON)


def test_a_webhook_as_one_writes_it(tmp_path: Path) -> None:
    (tmp_path / "crm.hook").write_text(SECRET + "\n")
    (found,) = load(
        tmp_path,
        text_of(
            secret_env=None,
            secret_file=f'"{tmp_path / "crm.hook"}"',
            old_secret_env='"OLD"',
            types='["event.published", "presence.*"]',
            topics='["desk.*"]',
            timeout_ms="700",
            give_up_s="3600",
        ),
    )
    assert (found.name, found.url, found.timeout_s, found.give_up_s) == (
        "crm",
        "https://crm.example.com/x",
        0.7,
        3600,
    )
    assert found.types == {"event.published", "presence.joined", "presence.left"}
    assert found.streams == (MD_ACTIVITY, MD_EVENTS)
    assert len(found.secrets) == 2 and found.ssl is not None
    assert SECRET not in repr(found) and OLD_SECRET not in repr(found)


def test_what_is_wanted(tmp_path: Path) -> None:
    (found,) = load(tmp_path, text_of(topics='["desk.*", "user.bob"]', instruments='["SIM:*"]'))
    assert found.types == set(TYPES)
    assert found.wants("presence.left", {"topic": "desk.a"})
    assert not found.wants("presence.left", {"topic": "other.a"})
    assert found.wants("subscription.begun", {"instrument": "SIM:A"})
    assert not found.wants("subscription.begun", {"instrument": "OTHER:A"})
    assert found.wants("session.opened", {"subject": "alice"})
    assert found.wants("webhook.lost", {}) and not found.wants("something.else", {})
    assert found.wants_topic("user.bob") and not found.wants_topic("user.alice")


def test_letters_of_users_are_told_to_those_alone_who_name_them(tmp_path: Path) -> None:
    (found,) = load(tmp_path, text_of())
    assert found.wants_topic("desk.a") and not found.wants_topic("user.alice")


def test_only_what_is_wanted_is_read(tmp_path: Path) -> None:
    assert load(tmp_path, text_of(types='["session.*"]'))[0].streams == (MD_ACTIVITY,)
    assert load(tmp_path, text_of(types='["event.published"]'))[0].streams == (MD_EVENTS,)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"name": '"CRM"'}, "name must have 1 to 32 of a-z"),
        ({"name": None}, "missing required field `name`"),
        ({"url": '"http://crm.example.com/x"'}, "url: http:// is for this machine only; use https://"),
        ({"url": '"https://me:hunter2@crm.example.com/"'}, "url: the URL must have no user, no password"),
        ({"url": '"ftp://crm.example.com/"'}, "url: the URL must be https://HOST"),
        ({"types": "[]"}, "`$.hooks[0].types`"),
        (
            {"types": '["sessions.opened"]'},
            "types: 'sessions.opened' is none; there are event.published, alert.told",
        ),
        ({"types": '["alert.told"]'}, 'which topics must name, as in topics = ["user.*"]'),
        ({"topics": '["desk.*.x"]'}, "topics: is 'desk.*.x'; it must be a topic"),
        ({"instruments": '["sim:a"]'}, "instruments: is 'sim:a'; it must be"),
        ({"secret_env": None}, "it needs secret_file, or secret_env"),
        ({"secret_env": '"BAD"'}, "secret_env: a secret begins with whsec_"),
        ({"secret_env": '"NONE"'}, "secret_env: there is no environment variable 'NONE'"),
        ({"secret_file": '"/nowhere"'}, "secret_file and secret_env: one of them is enough"),
        ({"secret_env": None, "secret_file": '"/nowhere"'}, "/nowhere cannot be read"),
        ({"old_secret_env": '"BAD"'}, "old_secret_env: a secret begins with"),
        ({"ca_file": '"/nowhere"'}, "ca_file cannot be used: No such file"),
        ({"url": '"http://127.0.0.1:1/"', "ca_file": '"/x"'}, "ca_file is for https:// alone"),
        ({"timeout_ms": "50"}, "`$.hooks[0].timeout_ms`"),
        ({"give_up_s": "10"}, "`$.hooks[0].give_up_s`"),
        ({"retries": "3"}, "unknown field `retries`"),
    ],
)
def test_what_is_wrong_is_said_where_it_is(tmp_path: Path, changes: dict[str, str | None], why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text_of(**changes))
    assert why in str(caught.value) and str(caught.value).startswith(f"{tmp_path / 'hooks.toml'}: ")
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere cannot be read: No such file"):
        load_hooks(tmp_path / "nowhere", {})
    with pytest.raises(ConfigError, match="is no TOML"):
        load(tmp_path, "[[hooks")
    with pytest.raises(ConfigError, match="missing required field `hooks`"):
        load(tmp_path, "")
    with pytest.raises(ConfigError, match="two webhooks have the same name"):
        load(tmp_path, text_of() * 2)
    with pytest.raises(ConfigError, match="length <= 16"):
        load(tmp_path, "".join(text_of(name=f'"n{number}"') for number in range(17)))


def test_the_page_shows_a_file_that_can_be_read_and_names_all_there_is(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "webhooks.md").read_text()
    (tmp_path / "crm.hook").write_text(SECRET)
    shown = page.partition("```toml\n")[2].partition("```")[0]
    (found,) = load(tmp_path, shown.replace("/run/secrets", str(tmp_path)))
    assert found.types == {"event.published", "presence.joined", "presence.left"}
    named = [
        *TYPES,
        What.LOST.value,
        *GOOD,
        "old_secret_file",
        "topics",
        "instruments",
        "give_up_s",
        "ca_file",
    ]
    assert not [each for each in named if f"`{each}`" not in page]
