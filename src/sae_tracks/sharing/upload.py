"""A folder as a repository of the Hugging Face hub, by its own client."""

import sys
import warnings
from pathlib import Path

from sae_tracks.errors import SaeTracksError, first_line

MESSAGE = "Upload with sae-tracks"


def upload_folder(folder: Path, repository: str) -> str:
    """Make a model repository if there is none, and upload a folder in one commit.

    Parameters
    ----------
    folder : path
        All its files are uploaded. Files that only the repository has stay.
    repository : str
        ``owner/name``.

    Returns
    -------
    str
        ``hf:owner/name@commit``.

    Raises
    ------
    SaeTracksError
        There is no token, it may not write there, or the hub does not answer.
    """
    from huggingface_hub import HfApi, constants, errors, utils

    if not sys.stderr.isatty():
        utils.disable_progress_bars()
    api, where = HfApi(), f"{constants.ENDPOINT}/{repository}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that Parquet files are for data sets
            api.create_repo(repository, exist_ok=True)
            commit = api.upload_folder(repo_id=repository, folder_path=folder, commit_message=MESSAGE)
    except Exception as error:  # the client's errors share no base class
        why = f"cannot upload to {where}: {first_line(error).rstrip('.')}"
        if isinstance(error, errors.HfHubHTTPError):
            denied = error.response.status_code in (401, 403)
            why += "; log in with `hf auth login`, with a token that may write there" if denied else "; try again"
        raise SaeTracksError(f"{why}. {folder} is complete") from error
    return f"hf:{repository}@{commit.oid}"
