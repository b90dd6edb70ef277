"""The package's README and addresses, which pyproject.toml leaves to the build."""

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class Addresses(MetadataHookInterface):
    """Lets links lead to the repository whose workflow builds the package.

    GitHub sets GITHUB_REPOSITORY. Without it, the address is unknown: the package has
    no addresses, and its README has no pictures and no links to files.
    """

    def update(self, metadata: dict[str, Any]) -> None:
        """Set `readme` and `urls`."""
        picture, link, urls = "", r"\1", {}
        repository = os.environ.get("GITHUB_REPOSITORY")
        if repository:
            address = f"{os.environ['GITHUB_SERVER_URL']}/{repository}"
            ref = os.environ["GITHUB_REF_NAME"]
            picture = rf"![\1]({address}/raw/{ref}/\2)"
            link = rf"[\1]({address}/blob/{ref}/\2)"
            owner, name = repository.split("/")
            urls = {
                "Repository": address,
                "Issues": f"{address}/issues",
                "Documentation": f"https://{owner}.github.io/{name}/",
                "Changelog": f"{address}/blob/{ref}/CHANGELOG.md",
            }
        text = (Path(self.root) / "README.md").read_text("utf-8")
        text = re.sub(r"!\[([^]]*)\]\((?!http)(.*?)\)", picture, text)
        text = re.sub(r"(?<!!)\[([^]]*)\]\((?!http)(.*?)\)", link, text)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
        metadata["urls"] = urls
