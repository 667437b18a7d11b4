"""The whole page with a keyboard alone, and what those hear who do not see it."""

import pytest
from on_page import put, told, wait_for

pytestmark = pytest.mark.slow

FIVE = ["Write", "Read", "Cells", "Learning", "Live"]


def test_the_arrow_keys_go_from_tab_to_tab(show):
    page = show()
    page.locator("#tab-write").focus()
    for name in (*FIVE[1:], "Write"):
        page.keyboard.press("ArrowRight")
        assert page.evaluate("document.activeElement.textContent") == name
        assert page.get_by_role("tabpanel").get_attribute("aria-labelledby") == f"tab-{name.lower()}"
        assert page.locator("[role=tab][tabindex='0']").all_inner_texts() == [name]
    page.keyboard.press("End")
    assert page.evaluate("location.hash").startswith("#view=live")
    page.keyboard.press("Home")
    assert page.locator("[role=tab][aria-selected=true]").all_inner_texts() == ["Write"]


def test_a_text_is_written_and_branched_with_keys_alone(show, server):
    page = show()
    page.locator("#panel-write textarea[name=prompt]").focus()
    page.keyboard.press("Control+Enter")
    wait_for(lambda: told(page) == "500 characters.")
    for _ in range(20):
        if page.evaluate("document.activeElement.classList.contains('paper')"):
            break
        page.keyboard.press("Tab")
    else:
        raise AssertionError("the text cannot be reached")
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.get_by_role("menuitem").first.wait_for()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    third = page.evaluate("document.activeElement.querySelector('.glyph').textContent")
    page.keyboard.press("Enter")
    wait_for(lambda: page.locator(".branch").count() == 2)
    assert page.evaluate("document.activeElement.classList.contains('paper')")  # and the walk goes on
    assert page.locator("#panel-write .inspector .glyph").inner_text() == third
    wait_for(lambda: told(page) == "500 characters.")


def test_the_place_after_the_last_character_can_be_chosen(show, server):
    page = show()
    put(page.locator("input[name=length]").first, "20")
    page.keyboard.press("Tab")
    page.locator("#panel-write textarea[name=prompt]").press("Control+Enter")
    wait_for(lambda: told(page) == "20 characters.")
    page.locator("#panel-write .paper").focus()
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    page.get_by_role("menuitem").first.wait_for()
    assert len([body for name, body in server.asked if name == "alternatives"][-1]["continued"]) == 20


def test_focus_is_seen_everywhere(show):
    for name in FIVE:
        page = show(name.lower())
        page.locator(f"#tab-{name.lower()}").focus()
        reached = set()
        for _ in range(60):
            page.keyboard.press("Tab")
            tag, width, style = page.evaluate("""() => {
                const { tagName, id, textContent } = document.activeElement;
                const { outlineWidth, outlineStyle } = getComputedStyle(document.activeElement);
                return [tagName + id + textContent.slice(0, 20), outlineWidth, outlineStyle];
            }""")
            if tag.startswith("BODY") or tag.startswith("SELECTmodel"):
                break
            assert style != "none" and float(width.removesuffix("px")) >= 2, f"{name}: {tag}"
            reached.add(tag)
        assert len(reached) >= 3, f"{name}: {reached}"


def test_every_control_has_a_name(show):
    for name in FIVE:
        page = show(name.lower())
        nameless = page.locator("button, input, select, textarea, [tabindex='0']").evaluate_all("""all => all
            .filter(each => each.checkVisibility() && !each.textContent.trim() && !each.ariaLabel)
            .filter(each => !each.labels?.length).map(each => each.outerHTML.slice(0, 80))""")
        assert nameless == []


def test_what_happens_is_said(show):
    page = show()
    assert page.locator("#panel-write [role=status]").count() == 1
    assert page.locator("#failed[role=alert]").count() == 1
    assert page.get_by_role("tablist").get_attribute("aria-label") == "Views"
    for tab in page.get_by_role("tab").all():
        panel = page.locator("#" + tab.get_attribute("aria-controls"))
        assert panel.get_attribute("role") == "tabpanel"
