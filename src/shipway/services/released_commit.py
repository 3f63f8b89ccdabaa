"""The commit that users have: that of the release which is stable now; `--since released` compares with it."""

from shipway.core.errors import NotFoundError, UsageError
from shipway.services.application import Application

RELEASED = "released"
"""What stands for that commit where a commit can be named."""
_OTHERWISE = "name a commit instead, such as --since origin/main"


async def released_commit(app: Application) -> str:
    """Return the commit of the release that is stable in the environment.

    Raises:
        NotFoundError: none is stable.
        UsageError: no commit holds what that release was made of.
    """
    stable = await app.releases.label(app.environment)
    if stable is None:
        raise NotFoundError(
            f"--since {RELEASED}: no release is stable in {app.environment}", hint=f"deploy one, or {_OTHERWISE}"
        )
    made = (await app.releases.get(stable)).provenance
    if made.commit is None:
        raise UsageError(
            f"--since {RELEASED}: {stable}, which is stable in {app.environment}, was made outside of git",
            hint=_OTHERWISE,
        )
    if made.dirty:
        raise UsageError(
            f"--since {RELEASED}: {stable}, which is stable in {app.environment}, was made of commit {made.commit} and"
            " changes that were not committed",
            hint=f"--since {made.commit} compares with that commit all the same",
        )
    return made.commit
