"""People at the page Annotate: a real server, a real browser; each task by mouse and by keyboard alone, and mishaps."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from annotation_server import SHOWS_WITHIN_MS, Server, context, lines, opened, saved, served, tab_to
from annotation_world import BASE, make_study
from hostile_runs import PAYLOADS
from looks import faults

from evalkit.annotation.journal import read_state, submit
from evalkit.annotation.study import ADJUDICATOR

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]


def text_of(page: Any) -> str:
    """The response that is shown."""
    return page.locator(".ea-response [role=listbox]").first.evaluate("node => node.textContent")


def word(page: Any, text: str) -> Any:
    return page.locator(".ea-word", has_text=text).first


# --- mark ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def marking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    names = ("mouse", "keys", "again", "left", "right", "tabs", "looks")
    with served(make_study(tmp_path_factory.mktemp("mark"), "mark", names, overlap=1.0)) as server:
        yield server


def go_to(page: Any, text: str) -> None:
    """Turn over to the item with this response."""
    for _ in range(8):
        if text_of(page) == text:
            return
        shown = text_of(page)
        button = page.get_by_role("button", name="Next", exact=True)
        if button.is_disabled():
            for _ in range(3):
                back = page.get_by_role("button", name="Previous", exact=True)
                if back.is_enabled():
                    before = text_of(page)
                    back.click()
                    page.wait_for_function(f"{SHOWN} !== {json.dumps(before)}")
            continue
        button.click()
        page.wait_for_function(f"{SHOWN} !== {json.dumps(shown)}")
    raise AssertionError(f"{text} is not among the items")


SHOWN = "document.querySelector('.ea-response [role=listbox]')?.textContent"


@pytest.fixture(scope="module", autouse=True)
def reachable_components(browser: Any) -> None:
    """Playwright's selectors pierce the component's shadow root; document.querySelector does not."""
    global SHOWN
    SHOWN = (
        "[...document.querySelectorAll('*')].map(n => n.shadowRoot?.querySelector('.ea-response [role=listbox]'))"
        ".find(Boolean)?.textContent"
    )


def test_words_are_marked_by_mouse_behind_an_emoji(browser, marking):
    page = opened(context(browser), marking.link("mouse"))
    go_to(page, BASE["1"])
    word(page, "red").click()
    page.get_by_role("button", name="attribute").click()
    box, other = word(page, "sits").bounding_box(), word(page, "sofa").bounding_box()
    page.mouse.move(box["x"] + 3, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(other["x"] + 5, other["y"] + 5, steps=8)
    page.mouse.up()
    page.get_by_role("button", name="position").click()
    page.get_by_role("button", name="Submit 2 marks").click()
    saved(page, 1)
    (row,) = lines(marking.study, "mouse")
    marked = [(BASE["1"][start:end], kind) for start, end, kind in row["answer"]["spans"]]
    assert marked == [("red", "attribute"), ("sits on a sofa", "position")]
    assert row["seconds"] > 0


def test_the_keyboard_alone_marks_submits_skips_and_takes_back(browser, marking):
    page = opened(context(browser), marking.link("keys"))
    first = text_of(page)
    tab_to(page, ".ea-word")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("1")
    page.keyboard.press("Control+Enter")
    saved(page, 1)
    (row,) = lines(marking.study, "keys")
    words = first.replace(".", " .").split()
    ((start, end, kind),) = row["answer"]["spans"]
    assert (first[start:end], kind) == (" ".join(words[1:3]), "object")
    page.get_by_role("button", name="Skip …").press("Enter")
    page.keyboard.type("too dark")
    page.keyboard.press("Enter")
    saved(page, 2)
    page.get_by_role("button", name="Undo").press("Enter")
    page.wait_for_selector(".ea-message:has-text('Taken back')")
    assert [row["action"] for row in lines(marking.study, "keys")] == ["answer", "skip", "undo"]


def test_a_reload_keeps_what_was_marked_and_a_double_click_adds_one_line(browser, marking):
    page = opened(context(browser), marking.link("again"))
    page.locator(".ea-word").nth(1).click()
    page.keyboard.press("3")
    page.wait_for_selector(".ea-word.marked")
    page.reload()
    page.wait_for_selector(".ea-word.marked")
    page.get_by_role("button", name="Submit 1 mark").dblclick()
    saved(page, 1)
    page.wait_for_timeout(1500)
    rows = lines(marking.study, "again")
    assert [row["action"] for row in rows] == ["answer"]
    assert [span[2] for span in rows[0]["answer"]["spans"]] == ["number"]


def test_two_people_at_once_write_into_their_own_journals(browser, marking):
    pages = {name: opened(context(browser), marking.link(name)) for name in ("left", "right")}
    for _ in range(2):
        for page in pages.values():
            page.get_by_role("button", name="Clean: submit").click()
    for name, page in pages.items():
        page.wait_for_selector(".ea-message:has-text('Saved (2)'), .ea-count:has-text('2 done')")
        assert len(lines(marking.study, name)) == 2


def test_a_second_window_is_told_and_keeps_its_marks(browser, marking):
    window = context(browser)
    one, two = opened(window, marking.link("tabs")), opened(context(browser), marking.link("tabs"))
    assert text_of(one) == text_of(two)
    two.locator(".ea-word").nth(0).click()
    two.keyboard.press("1")
    one.get_by_role("button", name="Clean: submit").click()
    saved(one, 1)
    two.get_by_role("button", name="Submit 1 mark").click()
    two.wait_for_selector(".ea-message.stale")
    assert len(lines(marking.study, "tabs")) == 1
    assert two.locator(".ea-word.marked").count() == 1
    two.get_by_role("button", name="Submit 1 mark again").click()
    saved(two, 2)
    rows = lines(marking.study, "tabs")
    assert [(row["follows"], len(row["answer"]["spans"])) for row in rows] == [(0, 0), (1, 1)]


def test_without_a_token_there_is_nothing_to_see(browser, marking):
    page = context(browser).new_page()
    for link in (f"{marking.address}/", f"{marking.address}/?token=x", f"{marking.address}/samples"):
        page.goto(link)
        page.wait_for_selector("text=with the link you were sent", timeout=SHOWS_WITHIN_MS)
        assert page.get_by_role("link", name="Samples").count() == 0


def test_an_annotator_sees_no_page_but_this_one(browser, marking):
    page = opened(context(browser), marking.link("mouse"))
    assert page.get_by_role("link", name="Samples").count() == 0
    assert page.get_by_role("link", name="Agreement").count() == 0


# --- correct and compare ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def correcting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served(make_study(tmp_path_factory.mktemp("correct"), "correct", ("anna", "ben"), overlap=1.0)) as server:
        yield server


def area_with(page: Any, text: str) -> Any:
    area = page.locator(".ea-edit textarea")
    for _ in range(6):
        if area.input_value() == text:
            return area
        before = area.input_value()
        following = page.get_by_role("button", name="Next", exact=True)
        (following if following.is_enabled() else page.get_by_role("button", name="Previous", exact=True)).click()
        for _ in range(100):
            if area.input_value() != before:
                break
            page.wait_for_timeout(100)
    return area


def test_a_correction_shows_its_segments_while_it_is_written(browser, correcting):
    page = opened(context(browser), correcting.link("anna"))
    area = area_with(page, BASE["1"])
    area.fill("🐶 A black dog lies on a sofa.")
    page.wait_for_selector(".ea-segment >> nth=1")
    assert page.locator(".ea-segment del").all_inner_texts() == ["red", "sits"]
    assert page.locator(".ea-segment ins").all_inner_texts() == ["black", "lies"]
    page.get_by_role("button", name="Submit the correction").click()
    page.wait_for_selector(".ea-message:has-text('Give each change a type')")
    page.locator(".ea-segment select").nth(0).select_option("attribute")
    page.locator(".ea-segment select").nth(1).select_option("action")
    page.reload()
    page.wait_for_selector(".ea-segment >> nth=1")
    assert page.locator(".ea-segment select").nth(1).input_value() == "action"
    page.get_by_role("button", name="Submit the correction").click()
    saved(page, 1)
    (row,) = lines(correcting.study)
    assert row["answer"]["segments"] == [[4, 7, 4, 9, "attribute"], [12, 16, 14, 18, "action"]]


def test_a_correction_by_keyboard_alone(browser, correcting):
    page = opened(context(browser), correcting.link("ben"))
    first = page.locator(".ea-edit textarea").input_value()
    tab_to(page, "textarea")
    page.keyboard.press("Control+End")
    page.keyboard.type(" Nothing else.")
    page.wait_for_selector(".ea-segment")
    page.keyboard.press("Tab")
    page.keyboard.press("o")  # the first type that begins so
    page.wait_for_function(
        "[...document.querySelectorAll('*')].map(n => n.shadowRoot?.querySelector('.ea-segment select'))"
        ".find(Boolean)?.value === 'object'"
    )
    page.keyboard.press("Control+Enter")
    saved(page, 1)
    (row,) = lines(correcting.study, "ben")
    assert row["answer"]["text"] == first + " Nothing else."
    tab_to(page, "textarea")
    tab_to(page, ".main")  # "Accept as it is"
    page.keyboard.press("Enter")
    saved(page, 2)
    assert lines(correcting.study, "ben")[1]["answer"]["segments"] == []


def test_two_responses_are_compared_by_mouse_and_by_keyboard(browser, tmp_path):
    study = make_study(tmp_path, "compare", ("anna", "ben"), overlap=1.0)
    with served(study) as server:
        page = opened(context(browser), server.link("anna"))
        assert "base" not in page.locator("[data-testid=stMain]").inner_text().lower()
        page.get_by_role("button", name="Submit", exact=True).click()
        page.wait_for_selector(".ea-message:has-text('Answer both questions')")
        page.locator("input[name=less_hallucinated][value=second]").check()
        page.locator("input[name=better][value=tie]").check()
        page.locator(".ea-response").nth(1).locator(".ea-word").nth(0).click()
        page.keyboard.press("2")
        page.get_by_role("button", name="Submit", exact=True).click()
        saved(page, 1)
        answer = lines(study)[0]["answer"]
        assert (answer["less_hallucinated"], answer["better"]) == ("second", "tie")
        assert [(span[0], span[3]) for span in answer["wrong"]] == [(1, "position")]

        page = opened(context(browser), server.link("ben"))
        tab_to(page, ".ea-word")
        page.keyboard.press("3")  # nothing is selected yet
        page.wait_for_selector(".ea-message:has-text('Select words first')")
        page.keyboard.press("Space")
        page.keyboard.press("3")
        tab_to(page, "input[name=less_hallucinated]")
        page.keyboard.press("Space")
        tab_to(page, "input[name=better]")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Control+Enter")
        saved(page, 1)
        answer = lines(study, "ben")[0]["answer"]
        assert (answer["less_hallucinated"], answer["better"]) == ("first", "second")
        assert [(which, start, kind) for which, start, _, kind in answer["wrong"]] == [(0, 0, "number")]


# --- texts of every kind --------------------------------------------------------------------------------------------

ODD = {  # response -> the word that is marked, and where Python finds it
    "👩‍👩‍👧‍👦 🧑🏽‍🚀 a red dog": "dog",
    "nin\u0303o e\u0301te\u0301 cafe\u0301 chien": "chien",
    "زرافة تقف بجانب شجرة": "شجرة",
    "一只红色的猫": "猫",
    "A dog. " * 800 + "An owl.": "owl",
    "line one\r\n\r\n\tline two cat": "cat",
}


def test_words_of_any_script_are_marked_where_python_finds_them(browser, tmp_path):
    """Empty responses and such of blanks alone are no items; an image that is gone is said, and the rest goes on."""
    texts = {str(number): text for number, text in enumerate(ODD, 1)} | {"90": "", "91": " \n\t "}
    study = make_study(tmp_path, "mark", runs=[texts])
    (tmp_path / "images" / "1.png").unlink()
    assert len(study.items) == len(ODD)
    with served(study) as server:
        page = opened(context(browser), server.link("anna"))
        for done in range(1, len(ODD) + 1):
            item = study.assigned("anna")[done - 1]
            wanted = ODD[item.texts[0]]
            page.wait_for_selector(f".ea-count:has-text('{done} of {len(ODD)}')")
            if item.id == "1":
                page.wait_for_selector(".ea-name:has-text('1.png: the image cannot be shown')")
            page.locator(".ea-word", has_text=wanted).last.click()
            page.keyboard.press("1")
            page.get_by_role("button", name="Submit 1 mark").click()
            saved(page, done)
    for row in lines(study):
        text = study.item(row["item"]).texts[0]
        ((start, end, kind),) = row["answer"]["spans"]
        assert (text[start:end], kind) == (ODD[text], "object")


def test_the_left_arrow_goes_left_in_a_script_that_runs_from_the_right(browser, tmp_path):
    study = make_study(tmp_path, "mark", runs=[{"1": "زرافة تقف بجانب شجرة"}])
    with served(study) as server:
        page = opened(context(browser), server.link("anna"))
        tab_to(page, ".ea-word")
        before = page.locator(".ea-word").nth(0).bounding_box()
        page.keyboard.press("ArrowLeft")
        after = page.locator(".ea-word[aria-selected=true]").bounding_box()
        assert after["x"] < before["x"]
        page.keyboard.press("2")
        page.keyboard.press("Control+Enter")
        saved(page, 1)
    ((start, end, kind),) = lines(study)[0]["answer"]["spans"]
    assert ("زرافة تقف بجانب شجرة"[start:end], kind) == ("تقف", "position")


# --- mishaps ------------------------------------------------------------------------------------------------------


def test_a_server_that_is_killed_loses_nothing(browser, tmp_path):
    study = make_study(tmp_path, "mark")
    with served(study) as server:
        page = opened(context(browser), server.link("anna"))
        page.get_by_role("button", name="Clean: submit").click()
        saved(page, 1)
        page.locator(".ea-word").nth(1).click()
        page.keyboard.press("2")
        server.kill()
        page.get_by_role("button", name="Submit 1 mark").click()
        page.wait_for_timeout(1000)
        server.start()
        page.reload()
        page.wait_for_selector(".ea-word.marked")  # the draft outlived the server
        page.get_by_role("button", name="Submit 1 mark").click()
        saved(page, 2)
    state = read_state(study, "anna")
    assert state.last == 2
    assert sorted(len(answer["spans"]) for answer in state.answers.values()) == [0, 1]


def test_hostile_responses_execute_and_load_nothing(browser, tmp_path):
    texts = {
        str(number): payload for number, payload in enumerate(PAYLOADS) if payload.strip() and payload.isprintable()
    }
    study = make_study(tmp_path, "mark", runs=[texts])
    outside: list[str] = []
    dialogs: list[str] = []
    with served(study) as server:
        page = context(browser).new_page()
        page.set_default_timeout(SHOWS_WITHIN_MS)
        own = (server.address, server.address.replace("http", "ws", 1), "data:", "blob:")
        page.on("request", lambda request: None if request.url.startswith(own) else outside.append(request.url))
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        page.goto(server.link("anna"))
        page.wait_for_selector(".ea-word")
        for place in range(2, len(study.items) + 1):
            page.get_by_role("button", name="Next", exact=True).click()
            page.wait_for_selector(f".ea-count:has-text('{place} of {len(study.items)}')")
        assert page.evaluate("window.hit") is None
    assert outside == []
    assert dialogs == []


# --- the owner, and what everybody needs ----------------------------------------------------------------------------


def test_the_owner_sees_agreement_and_decides_what_people_disagree_on(browser, tmp_path):
    study = make_study(tmp_path, "mark", ("anna", "ben"), overlap=1.0)
    for name, spans in (("anna", []), ("ben", [[0, 1, "object"]])):
        submit(study, name, "0/2/0", {"spans": spans})
    with served(study) as server:
        page = context(browser).new_page()
        page.set_default_timeout(SHOWS_WITHIN_MS)
        page.goto(f"{server.address}/agreement?token={study.tokens['owner']}")
        page.wait_for_selector("text=Disagreements (1)")
        page.wait_for_selector("text=0 decided")
        page.get_by_role("button", name="ben is right").click()
        page.wait_for_selector("text=1 decided")
        assert read_state(study, ADJUDICATOR).answers == {"0/2/0": {"spans": [[0, 1, "object"]]}}
        page.get_by_role("link", name="Samples").click()
        page.wait_for_selector("mark.hk")
        assert "token=" in page.url  # a reload is still the owner's
        page.goto(f"{server.address}/agreement?token={study.tokens['anna']}")
        page.wait_for_selector(".ea-actions button")  # not hers to see: her own page comes instead
        assert page.get_by_role("button", name="ben is right").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_text_has_contrast_controls_have_names_and_focus_goes_in_reading_order(browser, marking, scheme, width):
    window = browser.new_context(viewport={"width": width, "height": 1000}, color_scheme=scheme)
    page = opened(window, marking.link("looks"))
    page.locator(".ea-word").nth(1).click()
    page.keyboard.press("1")
    page.wait_for_selector(".ea-word.marked")
    assert "\n".join(faults(page)) == ""
    page.locator(".ea-frame").focus()
    order = []
    for _ in range(16):
        page.keyboard.press("Tab")
        focused = "document.activeElement?.shadowRoot?.activeElement"
        order.append(page.evaluate(f"{focused}?.textContent ?? ''"))
    shown = [text for text in order if text]
    assert shown[:3] == ["−", "Fit", "+"]
    assert (
        shown.index("1object") < shown.index("6other") < next(i for i, t in enumerate(shown) if t.startswith("Submit"))
    )
