"""``mdstream webhooks``: what it refuses, and the secrets that it makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from mdstream.cli.main import main
from mdstream.webhooks.signing import Secret


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main(["webhooks", *arguments])
    shown = capsys.readouterr()
    return code, shown.out + shown.err


def test_a_new_secret_is_in_a_file_that_the_user_alone_can_read(capsys, tmp_path: Path) -> None:
    new = tmp_path / "new.hook"
    code, text = said(capsys, "--new-secret", str(new))
    secret = new.read_text().strip()
    assert code == 0 and Secret(secret) and secret not in text
    assert new.stat().st_mode & 0o777 == 0o600
    wrong = f"mdstream webhooks: --new-secret: {new} cannot be made: File exists\n"
    assert said(capsys, "--new-secret", str(new)) == (2, wrong)
    assert new.read_text().strip() == secret


def test_what_is_wrong_is_told_before_anything_is_done(capsys, tmp_path: Path) -> None:
    code, text = said(capsys)
    assert code == 2 and "--hooks FILE must say who is told what" in text
    file = tmp_path / "hooks.toml"
    file.write_text('[[hooks]]\nname = "crm"\nurl = "http://crm.example.com/"\ntypes = ["*"]\n')
    code, text = said(capsys, "--hooks", str(file))
    assert code == 2 and f"{file}: webhook 'crm': url: http:// is for this machine only" in text
    code, text = said(capsys, "--hooks", str(file), "--lease", "1ms")
    assert code == 2 and "--lease is 0.001 s; it must be 500ms to 10m" in text
