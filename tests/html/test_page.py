"""The HTML of a page."""

import html.parser

from vjax.html.charts import bar, confusion_matrix, line_chart
from vjax.html.page import (
    Bars,
    Command,
    Confusion,
    Example,
    Examples,
    Figures,
    Lines,
    Section,
    Sentences,
    Table,
    render,
)

PICTURE = "data:image/png;base64,AA"
EVIL = """<script>alert("x")</script>&'{{ 7 * 7 }}"""


class Reader(html.parser.HTMLParser):
    """The tags, attributes and texts of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)


def every_block(text):
    chart = line_chart(text, {text: [(0, 1.0), (1, 2.0)], "b": [(0, 1.0)]}, x_label=text)
    return [
        Table(text, [text], [[text]]),
        Lines([chart]),
        Bars(text, [bar(text, 0.5, [0.1, 0.9], link="#x"), bar(text, None)], 0.1),
        Confusion(confusion_matrix([[1, 2], [0, 3]], [text, "b"])),
        Examples([Example(text, text, [(text, "data:video/mp4;base64,AA"), (text, PICTURE)], [chart])]),
        Figures([(text, PICTURE)]),
        Sentences([text]),
        Command(text),
    ]  # fmt: skip


def page(text):
    sections = [Section("a", text, text, every_block(text)), Section("b", "empty")]
    return render(title=text, lead=text, notes=[text], sections=sections, footer=text)


def test_texts_are_shown_as_they_are_and_never_run():
    read = Reader(page(EVIL))
    assert sum(tag == "script" for tag, _ in read.tags) == 1, "only that of the page"
    assert sum(EVIL in text for text in read.texts) >= 8
    assert not any("49" in text and "alert" in text for text in read.texts)


def test_a_page_names_no_other_file():
    for tag, attributes in Reader(page("run")).tags:
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "data:").startswith(("data:", "#")), (tag, attributes)


def test_each_section_is_linked_from_the_top():
    read = Reader(page("run"))
    links = [attributes["href"] for tag, attributes in read.tags if tag == "a"]
    assert links[:2] == ["#a", "#b"]
    assert [attributes["id"] for tag, attributes in read.tags if tag == "section"] == ["a", "b"]


def test_pictures_and_clips_have_a_text_for_those_who_do_not_see_them():
    read = Reader(page("run"))
    for tag, attributes in read.tags:
        if tag == "img":
            assert attributes["alt"]
        if tag in ("video", "svg"):
            assert attributes["aria-label"]
