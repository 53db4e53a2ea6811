"""Git repositories: a commit's tree as a build context, and which branches exist.

All of it goes through the git command line, so that the user's own configuration (credentials, proxies, ssh) holds.
"""

from branchline.source.discovery import NoRepositoryError, open_repository
from branchline.source.repository import Repository

__all__ = ["NoRepositoryError", "Repository", "open_repository"]
