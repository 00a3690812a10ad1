"""A hook of the documentation site, which has docs/ alone: links to other files become their paths."""

import re
from typing import Any

_OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+([^)]+)\)")


def on_page_markdown(markdown: str, **_: Any) -> str:  # noqa: ANN401 - MkDocs decides what it passes
    """Turn `[text](../path)` into text and the path in the repository."""

    def named(link: re.Match[str]) -> str:
        text, path = link.groups()
        return f"`{path}`" if text.strip("`") in path else f"{text} (`{path}`)"

    return _OUTSIDE.sub(named, markdown)
