"""The report as a comment on a pull request: one comment a branch, written anew each time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mien.core.errors import Invalid, MienError, NotFound, Unauthenticated, Unavailable

TIMEOUT_S = 20.0
LIMIT = 65_000  # characters of a comment that the server takes
TRIES = 3


@dataclass(frozen=True, slots=True)
class PullRequests:
    """The pull requests of a repository, over REST.

    Attributes:
        api: base address, such as ``https://api.github.com``.
        repository: ``owner/name``.
        token: that may write pull requests.
    """

    api: str
    repository: str
    token: str

    def comment(self, number: int, marker: str, body: str) -> str:
        """Write the comment that has this marker, or the first one; returns its address.

        Args:
            number: of the pull request.
            marker: a word that only our comment has; hidden in it.
            body: Markdown; cut where the server takes no more.

        Raises:
            Unavailable: ``PULL_REQUEST_SERVER``. Unauthenticated: ``PULL_REQUEST_TOKEN``.
            NotFound: ``UNKNOWN_PULL_REQUEST``.
        """
        hidden = f"<!-- {marker} -->"
        text = f"{hidden}\n{body}"[:LIMIT]
        place = f"/repos/{self.repository}/issues/{number}/comments"
        mine = next(
            (c for c in self._all(place) if str(c.get("body", "")).startswith(hidden)), None
        )
        if mine is not None:
            place = f"/repos/{self.repository}/issues/comments/{mine['id']}"
            return str(self._ask("PATCH", place, {"body": text})["html_url"])
        return str(self._ask("POST", place, {"body": text})["html_url"])

    def of_branch(self, head: str, onto: str, title: str) -> int:
        """Return the number of the open pull request of a branch; opens one where there is none.

        Returns 0 where the branch has nothing that could be merged.

        Args:
            head: the branch.
            onto: that it shall be merged into.
            title: of a new one.
        """
        owner = self.repository.partition("/")[0]
        place = f"/repos/{self.repository}/pulls"
        asked = {"head": f"{owner}:{head}", "base": onto, "state": "open"}
        found = self._ask("GET", place, query=asked)
        if not found:
            try:
                found = [self._ask("POST", place, {"title": title, "head": head, "base": onto})]
            except Invalid:  # nothing to merge
                return 0
        return int(found[0]["number"])

    def _all(self, place: str) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        for page in range(1, 101):
            part = self._ask("GET", place, query={"per_page": "100", "page": str(page)})
            found += part
            if len(part) < 100:
                break
        return found

    def _ask(
        self,
        method: str,
        place: str,
        value: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Any:
        import requests

        said = None
        for _ in range(TRIES):
            try:
                said = requests.request(
                    method,
                    f"{self.api.rstrip('/')}{place}",
                    json=value,
                    params=query,
                    timeout=TIMEOUT_S,
                    headers={
                        "Authorization": f"Bearer {self.token}",
                        "Accept": "application/vnd.github+json",
                    },
                )
            except requests.RequestException as error:
                problem = f"{type(error).__name__}"
                continue
            if said.status_code < 500:
                return self._answer(said, place)
            problem = f"status {said.status_code}"
        raise Unavailable(
            "PULL_REQUEST_SERVER",
            f"{self.api}{place} does not answer: {problem}",
            hint="the report is a file all the same; run again to comment",
        )

    def _answer(self, said: Any, place: str) -> Any:
        if said.ok:
            return said.json()
        words = said.text[:300]
        kinds: dict[int, tuple[type[MienError], str, str]] = {
            401: (Unauthenticated, "PULL_REQUEST_TOKEN", "give a token that is valid"),
            403: (Unauthenticated, "PULL_REQUEST_TOKEN", "it must may write pull requests"),
            404: (NotFound, "UNKNOWN_PULL_REQUEST", "is the number right, and the repository?"),
        }
        kind, reason, hint = kinds.get(
            said.status_code, (Invalid, "PULL_REQUEST", "see what the server says")
        )
        raise kind(reason, f"{place}: status {said.status_code}: {words}", hint=hint)
