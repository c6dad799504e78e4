"""The commit-msg hook: ``python tools/check_commit_message.py FILE`` fails if the message in FILE breaks a rule of CONTRIBUTING.md."""

import sys
from pathlib import Path

MAX_SUBJECT = 72


def problem(message: str) -> str | None:
    """What is wrong with a commit message, or None."""
    lines = [line for line in message.splitlines() if not line.startswith("#")]
    subject = lines[0] if lines else ""
    if not subject.strip():
        return "the first line is empty; it must say what changes"
    if len(subject) > MAX_SUBJECT:
        return (
            f"the subject has {len(subject)} characters; it may have {MAX_SUBJECT}. Put the why into the body"
        )
    if subject.lower().split()[0].strip(":") in ("wip", "fixup!", "squash!"):
        return "the subject must say what changes, not that work is in progress"
    if subject.endswith("."):
        return "the subject ends with a period; it is a title"
    if len(lines) > 1 and lines[1].strip():
        return "the second line must be empty; the body follows it"
    return None


if __name__ == "__main__":
    found = problem(Path(sys.argv[1]).read_text(encoding="utf-8"))
    if found is not None:
        sys.exit(f"commit message: {found} (see CONTRIBUTING.md)")
