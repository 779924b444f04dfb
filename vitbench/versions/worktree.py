"""The code of another commit, beside the one that is being worked on."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vitbench.errors import InputError, nearest


@contextmanager
def checked_out(ref: str, *, repository: Path, folder: Path) -> Iterator[Path]:
    """Check a commit out into a folder that goes again, as a git worktree.

    Neither the files that are being worked on nor the index are touched.
    ref: branch, tag or commit of the repository
    folder: does not exist yet
    raises: InputError where there is no repository or no such commit
    """
    found = _git(
        repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}"
    )
    if found.returncode:
        raise InputError(_unknown(ref, repository))
    made = _git(repository, "worktree", "add", "--detach", str(folder), found.stdout.strip())
    if made.returncode:
        raise InputError(f"cannot check out {ref!r} to {folder}: {_last_line(made.stderr)}")
    try:
        yield folder
    finally:
        _git(repository, "worktree", "remove", "--force", str(folder))


def top_of(folder: Path) -> Path:
    """Return the top folder of the repository; raises InputError where there is none."""
    found = _git(folder, "rev-parse", "--show-toplevel")
    if found.returncode:
        bare = _git(folder, "rev-parse", "--is-bare-repository").stdout.strip() == "true"
        why = "is a bare git repository, without files" if bare else "is in no git repository"
        raise InputError(f"{folder.resolve()} {why}; run it in a clone")
    return Path(found.stdout.strip())


def _unknown(ref: str, repository: Path) -> str:
    names = _git(repository, "for-each-ref", "--format=%(refname:short)").stdout.split()
    if not names:
        return f"{ref!r} is no commit of {repository}, which has none; commit the base first"
    shallow = _git(repository, "rev-parse", "--is-shallow-repository").stdout.strip() == "true"
    more = "; a shallow clone lacks older ones: git fetch --unshallow" if shallow else ""
    return f"{ref!r} is no commit of {repository}; {nearest(ref, ['HEAD', *names])}{more}"


def _git(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603
            ["git", "-C", str(folder), *words],  # noqa: S607  the user's own git
            capture_output=True,
            text=True,
            errors="surrogateescape",
            check=False,
        )
    except FileNotFoundError as error:
        raise InputError("git is not installed; it is needed to check the base out") from error


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["git gives no reason"])[-1]
