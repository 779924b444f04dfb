"""The code of another commit, beside the one that is being worked on."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vitbench.errors import InputError, nearest
from vitbench.utils.locks import clear_scratch, scratch_folder, undisturbed

PREFIX = "vitbench-code-"


@contextmanager
def checked_out(ref: str, *, repository: Path) -> Iterator[Path]:
    """Check a commit out into a folder that goes again, as a git worktree.

    Neither the files that are being worked on nor the index are touched. What a process has left
    that was killed goes now.
    ref: branch, tag or commit of the repository
    raises: InputError where there is no repository or no such commit
    """
    found = _git(
        repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}"
    )
    if found.returncode:
        raise InputError(_unknown(ref, repository))
    _remove_left(repository)
    with scratch_folder(Path(tempfile.gettempdir()), prefix=PREFIX) as folder:
        try:
            made = _git(
                repository, "worktree", "add", "--detach", str(folder), found.stdout.strip()
            )
            if made.returncode:
                raise InputError(f"cannot check out {ref!r} to {folder}: {_last_line(made.stderr)}")
            yield folder
        finally:
            with undisturbed():
                _remove(repository, folder)


def _remove(repository: Path, folder: Path) -> None:
    """Remove a worktree, also one that is half made (then git has it locked) or has no folder."""
    _git(repository, "worktree", "remove", "--force", "--force", str(folder))


def _remove_left(repository: Path) -> None:
    """Remove the worktrees of processes that were killed."""
    listed = _git(repository, "worktree", "list", "--porcelain").stdout.splitlines()
    paths = [Path(line.removeprefix("worktree ")) for line in listed if "worktree " in line]
    ours = [path for path in paths if path.name.startswith(PREFIX)]
    for parent in {path.parent for path in ours}:
        clear_scratch(parent, prefix=PREFIX)
    for path in ours:
        if not path.exists():
            _remove(repository, path)


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
