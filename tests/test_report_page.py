# SPDX-License-Identifier: MIT
"""The page of `bitmill report` in a browser: what it shows and does, and that it asks nobody."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import bitmill as bm
from bitmill.checkpoint import quantize_checkpoint
from checkpoints import llama, make
from conftest import needs
from synthetic_report import full_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
HOSTILE = [
    "</script><script>document.title='taken'</script>",
    "<img src=x onerror=\"document.title='taken'\">.weight",
    "<!--<script>.weight",
    "a\u202egnp.weight\u0000\u2028",
    "__proto__",
    '=1+1|\' "quoted" &amp; ${1}',
]


def llama_names(count: int) -> list[str]:
    """Names as large models have them."""
    return [f"model.layers.{i // 7}.self_attn.some_long_{i % 7}_proj.weight" for i in range(count)]


# The text


def data_of(text: str) -> Any:
    """The JSON in a page."""
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', text)
    assert found is not None
    return json.loads(found[1])


def test_page_of_400_tensors_is_smaller_than_3_megabytes() -> None:
    assert len(full_report(llama_names(400)).to_html().encode()) < 3_000_000


def test_page_of_thousands_has_pictures_of_the_worst() -> None:
    text = full_report(llama_names(2000)).to_html()
    pictured = [t["name"] for t in data_of(text)["tensors"] if "histogram" in t]
    assert pictured == llama_names(600)


def test_page_names_no_other_place() -> None:
    text = full_report(llama_names(3)).to_html()
    assert re.findall(r"https?://[^\"' )]*", text) == ["http://www.w3.org/2000/svg"]
    assert "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'" in text
    assert not re.search(r"<(link|img|iframe|object|embed|base)\b|@import|url\(", text)


def test_names_cannot_end_the_data() -> None:
    text = full_report(HOSTILE).to_html()
    assert text.count("<script") == text.count("</script") == 2
    assert {t["name"] for t in data_of(text)["tensors"]} == {*HOSTILE, "norm.weight"}


# In a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The system's Chromium; without it the test is skipped, or fails if all are required."""
    playwright = needs("playwright.sync_api")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        if os.environ.get("BITMILL_REQUIRE_ALL") == "1":
            pytest.fail("no chromium: apt-get install chromium")
        pytest.skip("no chromium")
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=path, args=sandbox)
        yield found
        found.close()


@pytest.fixture
def visit(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """Opens a report. At the end the page must have said nothing, and asked for nothing else."""
    said: list[str] = []
    asked: list[str] = []
    contexts = []

    def opened(report: bm.FullReport, *, width: int = 1440, **options: Any) -> Any:
        path = tmp_path / "page.html"
        path.write_text(report.to_html())
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(5000)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == []
    assert set(asked) <= {(tmp_path / "page.html").as_uri()}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bm.FullReport:
    """A report on the small Llama, for a budget."""
    folder = tmp_path_factory.mktemp("report")
    src = make(folder / "src", llama())
    plan = bm.plan_budget(src, "3.2bpw", ["W2", "W3", "W4", "KEEP"], scale_dtype="auto")
    quantize_checkpoint(src, folder / "dst", plan)
    return bm.report(folder / "dst", source=src)


def column(page: Any, kind: str) -> list[str]:
    """The text of a column of the table."""
    found: list[str] = page.locator(f"#table tbody .{kind}").all_inner_texts()
    return found


def names(page: Any) -> list[str]:
    """The tensors in the table, in order."""
    found: list[str] = page.locator("#table tbody .name").all_inner_texts()
    return found


def test_worst_tensor_comes_first_and_is_shown(small: bm.FullReport, visit: Any) -> None:
    page = visit(small)
    assert names(page) == [t.name for t in small.worst_first if t.layer is not None]
    assert page.locator("#detail-title").inner_text() == small.totals.worst
    assert page.locator("#table th[aria-sort]").inner_text().startswith("SQNR")
    assert page.locator("svg[role=img]").count() == 4  # tensors, frontier, histogram, errors
    for svg in page.locator("svg[role=img]").all():
        assert svg.get_attribute("aria-label")


def test_headings_sort_both_ways_also_by_keyboard(visit: Any) -> None:
    page = visit(full_report(llama_names(9)))
    sqnr = [float(text) for text in column(page, "c-sqnr")]
    assert sqnr == sorted(sqnr)
    heading = page.get_by_role("button", name="SQNR dB")
    heading.click()
    assert [float(text) for text in column(page, "c-sqnr")] == sqnr[::-1]
    assert page.locator("th[data-key=sqnr]").get_attribute("aria-sort") == "descending"
    page.get_by_role("button", name="Tensor", exact=True).focus()
    page.keyboard.press("Enter")
    assert names(page) == sorted(llama_names(9))
    assert page.locator("th[data-key=name]").get_attribute("aria-sort") == "ascending"
    assert page.locator("th[data-key=sqnr]").get_attribute("aria-sort") is None


def test_filter_takes_words_of_names_schemes_and_reasons(small: bm.FullReport, visit: Any) -> None:
    page = visit(small)
    page.locator("#which").select_option("all")
    assert len(names(page)) == len(small.tensors)
    page.locator("#filter").fill("LAYERS attn")
    assert len(names(page)) == 3
    assert page.get_by_role("status").inner_text() == f"3 of {len(small.tensors)}"
    page.locator("#filter").fill("embedding")
    assert names(page) == ["model.embed_tokens.weight"]
    page.locator("#filter").fill("nothing like it")
    assert page.get_by_text("No tensor matches.").is_visible()
    page.locator("#filter").fill("")
    page.locator("#which").select_option("kept")
    assert "model.norm.weight" in names(page)


def test_long_table_is_shown_when_asked_for(visit: Any) -> None:
    page = visit(full_report(llama_names(400)))
    assert len(names(page)) == 20
    page.get_by_role("button", name="Show all 400").click()
    assert len(names(page)) == 400


def test_choosing_a_tensor_shows_its_details(small: bm.FullReport, visit: Any) -> None:
    page = visit(small)
    row = page.locator("#table tbody tr").nth(1)
    row.locator(".c-sqnr").click()
    name = names(page)[1]
    assert page.locator("#detail-title").inner_text() == name
    assert row.get_attribute("aria-current") == "true"
    assert page.locator("#table tr[aria-current]").count() == 1
    assert page.locator("#detail .here th").inner_text() == small.details[name].label
    for heading in ("Values and levels", "Where the error is", "What else was measured"):
        assert page.get_by_role("heading", name=heading).is_visible()


def test_tensors_are_chosen_by_keyboard(small: bm.FullReport, visit: Any) -> None:
    page = visit(small)
    page.locator("#table tbody button").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.locator("#detail-title").inner_text() == names(page)[1]
    page.get_by_role("button", name="Next").click()
    assert page.locator("#detail-title").inner_text() == names(page)[2]
    assert page.get_by_role("button", name="Next").is_disabled()


def test_dots_are_the_tensors_in_the_order_of_the_model(small: bm.FullReport, visit: Any) -> None:
    page = visit(small)
    quantized = [t.name for t in small.report.quantized]
    dots = page.locator(".dot")
    left = sorted(range(dots.count()), key=lambda i: float(dots.nth(i).get_attribute("cx")))
    assert [dots.nth(i).text_content().split(":")[0] for i in left] == quantized
    dots.nth(0).click()
    assert dots.last.text_content().startswith(page.locator("#detail-title").inner_text())


def test_map_tells_the_cell_under_the_pointer(small: bm.FullReport, visit: Any) -> None:
    page = visit(small)
    page.locator("#detail svg").last.hover()
    assert re.search(
        r"rows \d+–\d+, columns \d+–\d+: \d\.\d\d×", page.locator("#detail").inner_text()
    )


def test_theme_follows_the_system_or_the_button(small: bm.FullReport, visit: Any) -> None:
    def ground(page: Any) -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    page = visit(small, color_scheme="dark")
    dark = ground(page)
    page.get_by_role("button", name="Theme: auto").click()
    light = ground(page)
    assert light != dark
    page.get_by_role("button", name="Theme: light").click()
    assert ground(page) == dark
    page.get_by_role("button", name="Theme: dark").click()
    assert ground(page) == dark
    assert ground(visit(small, color_scheme="light")) == light


@pytest.mark.parametrize("width", [320, 390, 768, 1024, 1440])
def test_nothing_is_wider_than_the_screen(visit: Any, width: int) -> None:
    page = visit(full_report(llama_names(30)), width=width, reduced_motion="reduce")
    page.get_by_role("button", name="Show all 30").click()
    page.locator("details summary").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("#table tbody tr").nth(5).click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    box = page.locator("#detail").bounding_box()
    assert box is not None
    assert box["y"] < 700  # where the choice was made far from it, it comes into view


def test_names_are_text_whatever_they_hold(visit: Any) -> None:
    page = visit(full_report(HOSTILE))
    for i in range(len(HOSTILE)):
        page.locator("#table tbody tr").nth(i).click()
        assert page.locator("#detail-title").inner_text() == names(page)[i]
    assert page.title().startswith("LlamaForCausalLM")
    assert r"a\u{202e}gnp.weight\u{0}\u{2028}" in names(page)
    assert page.locator("img").count() == 0


def test_page_without_source_or_alternatives_says_so(visit: Any) -> None:
    report = full_report(llama_names(3), has_source=False, curve=None, command=None)
    page = visit(report)
    assert page.get_by_text("Made without the source").is_visible()
    assert page.get_by_text("No alternatives were measured").is_visible()
    assert page.get_by_text("there was no command line").is_visible()


def test_page_tells_the_command_and_what_was_kept(visit: Any) -> None:
    page = visit(full_report(llama_names(3)))
    assert page.locator("pre").inner_text() == "bitmill quantize SRC DST --budget 4.25bpw"
    assert "1 tensor kept: 1-D" in page.locator("#health").inner_text()
    assert "x.bin" in page.locator("#health").inner_text()


def test_page_without_quantized_tensors_is_no_error(visit: Any) -> None:
    page = visit(full_report([], curve=None))
    assert page.get_by_text("No tensor was quantized.").is_visible()
    assert names(page) == ["norm.weight"]


def test_page_without_scripts_is_the_report_in_short(visit: Any) -> None:
    page = visit(full_report([*HOSTILE, *llama_names(200)]), java_script_enabled=False)
    assert page.locator("noscript tr").count() == 101
    assert page.locator("noscript tr td").first.inner_text() == HOSTILE[0]
    made = page.locator("noscript p").last
    assert made.inner_text() == "Made by: bitmill quantize SRC DST --budget 4.25bpw"
    assert made.is_visible()
    assert page.locator(".drawn:visible").count() == 0


def test_paper_is_white_and_has_no_controls(small: bm.FullReport, visit: Any) -> None:
    page = visit(small, color_scheme="dark")
    for _ in range(2):  # also if dark was asked for
        page.get_by_role("button", name="Theme").click()
    page.emulate_media(media="print")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(251, 251, 249)"
    for control in ("#theme", "#filter", "#which", "#more", ".steps"):
        assert page.locator(control).is_hidden()


def test_focus_stays_where_tensors_are_chosen(small: bm.FullReport, visit: Any) -> None:
    def focus(page: Any) -> str:
        return str(page.evaluate("document.activeElement.textContent"))

    page = visit(small)
    page.get_by_role("button", name="Next").focus()
    page.keyboard.press("Enter")
    assert focus(page) == "Next"
    page.keyboard.press("Enter")
    assert focus(page) == "Previous"  # there is no next one
    page.locator("#table tbody button").first.focus()
    page.keyboard.press("Enter")
    assert focus(page) == names(page)[0]  # the details are beside it
    narrow = visit(small, width=390)
    narrow.locator("#table tbody button").nth(1).focus()
    narrow.keyboard.press("Enter")
    assert narrow.evaluate("document.activeElement.id") == "detail-title"


def test_tensors_of_which_nothing_is_left_are_the_worst(visit: Any) -> None:
    report = full_report(llama_names(2))
    lost = replace(report.tensors[1].metrics, sqnr_db=-math.inf, mse=1.0)
    tensors = (report.tensors[0], replace(report.tensors[1], metrics=lost))
    page = visit(replace(report, report=replace(report.report, tensors=tensors)))
    assert "keeps \u2212\u221e dB" in page.locator("#lead").inner_text()
    assert column(page, "c-sqnr")[0] == "\u2212\u221e"


def test_ten_thousand_tensors_are_sorted_in_no_time(visit: Any) -> None:
    page = visit(full_report(llama_names(10000), curve=None, details={}))
    began = time.monotonic()
    for heading in ("Size", "Tensor", "SQNR dB"):
        page.get_by_role("button", name=heading, exact=True).click()
    page.get_by_role("button", name="Next").click()
    assert time.monotonic() - began < 5
