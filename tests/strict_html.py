"""A reader of our HTML pages that is stricter than a browser."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "img", "line", "rect", "br", "input"}


class StrictPage(HTMLParser):
    """Every element is closed, in order. Keeps tags with their attributes, and texts."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.texts = [], [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())
