"""Which branches there are, asked of the forge that each environment comes from: for the reaper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from branchline.environment import Environment
from branchline.errors import BranchlineError
from branchline.forges import forks
from branchline.forges.api import forge_of


@dataclass(frozen=True, slots=True)
class ForgeBranches:
    """See `lifecycle.Branches`: of a repository whose forge can't be asked, it isn't known which there are."""

    configured: Mapping[str, Mapping[str, str]]
    """The forges' settings, by their names."""
    problems: list[str] = field(default_factory=list[str])
    """Why branches couldn't be listed, once for each repository and reason."""

    def __call__(self, environment: Environment) -> frozenset[str] | None:
        """Every branch, and `pull/N` for every pull request that is open, since a fork's environment is called so."""
        repository = environment.repository
        forge = forge_of(repository, self.configured) if repository else None
        if forge is None:
            return None
        try:
            branches = forge.branches(repository)
            if not branches:
                raise BranchlineError("it says that there are no branches at all")
            open_ones = forge.pull_requests(repository)
            found = branches | {f"{forks.PREFIX}{number}" for number in open_ones}
            # A list in pages misses one that moves to an earlier page, when another is deleted meanwhile.
            mine = environment.id.branch
            return found | {mine} if mine not in found and forge.has_branch(repository, mine) else found
        except BranchlineError as error:
            problem = f"the branches of {repository} can't be listed, so none is taken for gone: {error.message}"
            if problem not in self.problems:
                self.problems.append(problem)
            return None
