"""Uploading a folder to the Hugging Face hub in one commit. A new repository is private unless it is asked to be
public, and a public one is not written to by accident. `HF_TOKEN` (or `hf auth login`) says who uploads."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from steersman.errors import DataError, ServiceError, SteersmanError, UsageError

RepoKind = Literal["model", "dataset"]
README = "README.md"
_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
_REPO = re.compile(rf"{_PART}/{_PART}")
# Licences as the hub names them. Another one is written as `other`, with its name.
_LISTED = """
apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m
afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5
cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0
cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0
lgpl lgpl-2.1 lgpl-3.0 isc h-research intel-research lppl-1.3c ms-pl apple-ascl apple-amlr mpl-2.0 odc-by odbl
openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr deepfloyd-if-license
fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 gemma unknown other
"""
LICENCES = frozenset(_LISTED.split())


@dataclass(frozen=True, slots=True)
class Push:
    """What is, or would be, uploaded: each file with its size, and to where."""

    repo: str
    kind: RepoKind
    private: bool
    files: tuple[tuple[str, int], ...]
    url: str
    """Of the commit; empty where nothing was uploaded."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "repo": self.repo,
            "kind": self.kind,
            "private": self.private,
            "files": [{"name": name, "bytes": size} for name, size in self.files],
            "url": self.url,
        }

    @property
    def lines(self) -> list[str]:
        whole = sum(size for _, size in self.files)
        visible = "private" if self.private else "public"
        head = "pushed to" if self.url else "dry run: nothing was uploaded. It would push to"
        return [
            f"{head} the {visible} {self.kind} {self.repo}{f': {self.url}' if self.url else ''}",
            *(f"  {name}  {size:,} bytes" for name, size in self.files),
            f"  {len(self.files)} files, {whole:,} bytes",
        ]


def check_repo(repo: str) -> str:
    """The name of a repository, if it can be one of the hub."""
    if not _REPO.fullmatch(repo) or "--" in repo or ".." in repo:
        raise UsageError(
            f"{repo!r} is no name of a repository on the hub; expected ORG/NAME with letters, digits, '-', '_' and '.'"
        )
    return repo


def licence_fields(licence: str | None) -> dict[str, Any]:
    """The metadata of a licence: one that the hub does not list is `other`, with its name."""
    if licence is None:
        return {}
    if not licence.strip():
        raise UsageError("the licence is empty; expected a name such as apache-2.0")
    known = licence.strip().lower()
    return {"license": known} if known in LICENCES else {"license": "other", "license_name": licence.strip()}


def check_card(readme: Path) -> None:
    """Raise if the hub would not read the card's metadata; the hub itself checks it once more at the upload."""
    import yaml
    from huggingface_hub import ModelCard

    try:
        data = ModelCard(readme.read_text(encoding="utf-8")).data.to_dict()
    except (ValueError, TypeError, yaml.YAMLError) as error:
        raise DataError(
            f"{readme} has metadata that the hub cannot read: {_first_line(error)}. Mend the block between its ---"
        ) from (error)
    said = data.get("license")
    unknown = [one for one in (said if isinstance(said, list) else [said]) if one is not None and one not in LICENCES]
    if unknown:
        raise DataError(f"{readme}: the hub has no licence {unknown[0]!r}; write license: other and license_name")


def push_folder(folder: Path, repo: str, kind: RepoKind, *, public: bool, dry_run: bool) -> Push:
    """Upload the files of a folder as one commit; with `dry_run` only say which, asking nobody."""
    check_repo(repo)
    files = tuple(
        (file.relative_to(folder).as_posix(), file.stat().st_size)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )
    if not files:
        raise UsageError(f"{folder} has no files to upload")
    if (folder / README).is_file():
        check_card(folder / README)
    if dry_run:
        return Push(repo, kind, not public, files, "")
    with _told(repo):
        return Push(repo, kind, not public, files, _upload(folder, [name for name, _ in files], repo, kind, public))


def _upload(folder: Path, names: list[str], repo: str, kind: RepoKind, public: bool) -> str:
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    from steersman.runs.stamp import version_of

    api = _api(HfApi)
    try:
        there = api.repo_info(repo, repo_type=kind)
    except RepositoryNotFoundError:
        api.create_repo(repo, repo_type=kind, private=not public, exist_ok=True)
    else:
        if not public and not there.private:
            raise UsageError(f"{repo} is there on the hub and public; give --public to push to it, or another name")
    adds = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(folder / name)) for name in names]
    done = api.create_commit(
        repo, adds, repo_type=kind, commit_message=f"Upload by Steersman {version_of('steersman') or ''}".strip()
    )
    return str(done.commit_url)


def _api(api: Any) -> Any:
    import os

    from huggingface_hub import constants, get_token

    if constants.HF_HUB_OFFLINE:
        raise UsageError("HF_HUB_OFFLINE is set, so nothing can be uploaded; unset it, or give --dry-run")
    if not get_token():
        raise UsageError(
            "no token for the hub was found; run `hf auth login`, or set HF_TOKEN, with the right to write"
        )
    return api(endpoint=os.environ.get("HF_ENDPOINT") or constants.ENDPOINT)


@contextmanager
def _told(repo: str) -> Iterator[None]:
    """Context manager that says what the hub answered, without the token."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except SteersmanError:
        raise
    except HfHubHTTPError as error:
        status = None if error.response is None else error.response.status_code
        what = "check that the token may write there" if status in (401, 403) else "try again"
        raise ServiceError(f"the hub refused the upload to {repo} ({status}): {_first_line(error)}; {what}") from error
    except ValueError as error:
        raise DataError(f"the hub does not take the card of {repo}: {_first_line(error)}") from error
    except Exception as error:  # of the network: connection, name service, time limit, certificates
        raise ServiceError(
            f"the hub could not be reached for {repo} ({type(error).__name__}: {_first_line(error)}); try again"
        ) from error


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "; ".join(lines)[:400]
