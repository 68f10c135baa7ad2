"""The web page in Debian's Chromium: by keyboard and mouse, light and dark, wide and narrow."""

import os
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from browser import chromium
from registry import wait_for
from web_site import web_site

# Directory for screenshots of the page; none unless it is set.
PICTURES = os.environ.get("NIXERY_TEST_PICTURES")

# Text whose contrast with its background is below 4.5 (3 for large text): WCAG 2.1, 1.4.3.
LOW_CONTRAST = """
const parse = (text) => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return {r, g, b, a}; };
const luminance = ({r, g, b}) => [r, g, b].map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const behind = (node) => {
  for (let at = node; at; at = at.parentElement) {
    const colour = parse(getComputedStyle(at).backgroundColor);
    if (colour.a === 1) return colour;
  }
  return {r: 255, g: 255, b: 255};
};
const wrong = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node = walker.nextNode(); node; node = walker.nextNode()) {
  const parent = node.parentElement;
  if (!node.data.trim() || !parent.checkVisibility() || parent.closest("svg, noscript, :disabled, .unseen")) continue;
  const style = getComputedStyle(parent);
  const [a, b] = [luminance(parse(style.color)), luminance(behind(parent))];
  const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (contrast < (parseFloat(style.fontSize) >= 24 ? 3 : 4.5)) wrong.push(`${node.data.trim().slice(0, 40)}: ${contrast.toFixed(2)}`);
}
return wrong;
"""
# Controls without a name for screen readers, duplicate ids, headings that skip a level.
UNNAMED = """
const wrong = [];
for (const control of document.querySelectorAll("a[href], button, input, summary, [role=tab], [role=listbox], [role=img], progress, [tabindex='0']")) {
  if (!control.checkVisibility()) continue;
  const named = control.textContent.trim() || control.getAttribute("aria-label") || control.getAttribute("aria-labelledby")
    || control.labels?.length || control.querySelector("img[alt]:not([alt=''])");
  if (!named) wrong.push(control.outerHTML.slice(0, 100));
}
const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
wrong.push(...ids.filter((id, i) => ids.indexOf(id) !== i).map((id) => `id twice: ${id}`));
let level = 0;
for (const heading of document.querySelectorAll("h1, h2, h3, h4")) {
  if (!heading.checkVisibility()) continue;
  if (Number(heading.tagName[1]) > level + 1) wrong.push(`heading too deep: ${heading.textContent}`);
  level = Number(heading.tagName[1]);
}
return wrong;
"""


@pytest.fixture(scope="module")
def site():
    with web_site() as site:
        assert site.manifest("shell/git").status == 200
        assert site.manifest("failing").status == 424
        yield site


@pytest.fixture(scope="module")
def shared_browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def browser(shared_browser):
    """Asserts that the console has no unexpected messages."""
    shared_browser.look("light", 1200)
    shared_browser.console()
    yield shared_browser
    assert shared_browser.console() == []


def picture(browser, name: str):
    if PICTURES:
        browser.screenshot(Path(PICTURES) / f"{name}.png")


def check_looks(browser, name: str):
    """Readable and within its width in all schemes and sizes."""
    for scheme in ("light", "dark"):
        for width in (1200, 360):
            browser.look(scheme, width)
            picture(browser, f"{name}-{scheme}-{width}")
            assert browser.run(LOW_CONTRAST) == [], (name, scheme, width)
            assert browser.run("return document.documentElement.scrollWidth") <= width, (name, scheme, width)
    assert browser.run(UNNAMED) == []
    browser.look("light", 1200)


def start(browser, site, query: str = ""):
    browser.open(f"{site.url}/{query}")
    browser.wait_for("return document.querySelectorAll('#images li, #failures li').length >= 2", "the lists")


def matches(browser) -> list[str]:
    return browser.run("return [...document.querySelectorAll('#matches [data-name]')].map((option) => option.dataset.name)")


def search(browser, text: str, expected: list[str]):
    """Waits for the matches of the whole text: its first letters may have the same. The match is marked in each name."""
    browser.type("#packages", text)
    shown = "return [...document.querySelectorAll('#matches li')].map((each) => [each.dataset.name ?? '', (each.querySelector('b') ?? each).textContent])"
    wanted = [[name, text] for name in expected] or [["", f"No package matches “{text}”."]]
    wait_for(lambda: browser.run(shown) == wanted, f"what is found for {text}", 60)


def chosen(browser) -> list[str]:
    return browser.run("return [...document.querySelectorAll('#chosen li')].map((chip) => chip.firstChild.data)")


def test_the_start_page_lists_builds_and_failures(browser, site):
    start(browser, site)
    assert browser.text("h1") == "Name the packages.\nPull the image."
    assert browser.text(".hero .command") == f"docker run --rm -it {site.host}/shell/git/curl bash"
    assert browser.texts("#images a")[-1] == "shell/git"
    assert "failing" in browser.text("#failures") and "the build failed" in browser.text("#failures")
    check_looks(browser, "start")


def test_packages_are_searched_and_chosen_by_keyboard(browser, site):
    start(browser, site)
    assert browser.run("return document.getElementById('packages').getAttribute('role')") == "combobox"
    search(browser, "cur", ["curl", "curlie", "libcurl"])
    state = "const i = document.getElementById('packages'); return [i.getAttribute('aria-expanded'), i.getAttribute('aria-activedescendant')]"
    assert browser.run(state) == ["true", None]
    browser.type("#packages", "down", "down")
    assert browser.run(state) == ["true", "match-1"]
    assert browser.run("return document.querySelector('#matches [aria-selected=true]').dataset.name") == "curlie"
    check_looks(browser, "search")
    browser.type("#packages", "up", "enter")
    assert chosen(browser) == ["curl"] and browser.run(state) == ["false", None]
    search(browser, "jq", ["jq"])
    browser.type("#packages", "escape")
    assert not browser.is_shown("#matches")
    browser.type("#packages", " ")
    assert chosen(browser) == ["curl", "jq"]
    assert browser.text("#command") == f"docker run --rm -it {site.host}/shell/curl/jq bash"
    browser.type("#packages", "backspace")
    assert chosen(browser) == ["curl"]
    browser.click("#chosen button")
    assert chosen(browser) == []
    search(browser, "nothinglikeit", [])


def test_input_never_becomes_html(browser, site):
    start(browser, site)
    browser.type("#packages", "<img/src=x>")
    browser.type("#packages", "enter")
    assert chosen(browser) == [] and "is not a valid package name" in browser.run("return document.getElementById('problem').textContent")
    start(browser, site, "?packages=git+%3Cscript%3Ealert(1)%3C%2Fscript%3E&tag=%22%3E%3Cb%3E")
    assert chosen(browser) == ["git", "script"] or chosen(browser) == ["git"]
    assert browser.run("return document.querySelectorAll('main script, main img[src=x]').length") == 0


def test_the_commands_follow_the_form(browser, site):
    start(browser, site, "?packages=git+zstd&platform=arm64")
    assert chosen(browser) == ["git", "zstd"]
    assert browser.text("#command") == f"docker run --rm -it {site.host}/arm64/git/zstd"
    browser.click("input[name=shell]")
    browser.click("input[name=encoding][value=zstd]")
    browser.type("#tag", "v1")
    image = f"{site.host}/zstd/arm64/shell/git/zstd:v1"
    expected = {
        "docker": f"docker run --rm -it {image} bash",
        "podman": f"podman run --rm -it --tls-verify=false {image} bash",
        "kubernetes": f"kubectl run nixery --rm -it --image={image} -- bash",
        "skopeo": f"skopeo copy --src-tls-verify=false docker://{image} docker-archive:image.tar",
    }
    for client, command in expected.items():
        browser.click(f"#tab-{client}")
        assert browser.text("#command") == command
    browser.type("#tab-skopeo", "right")
    assert browser.text("#command") == expected["docker"]
    # The URL can be shared.
    address = browser.address()
    start(browser, site, address.partition("/?")[2] and "?" + address.partition("/?")[2])
    assert browser.text("#command") == expected["docker"]


def test_the_plan_is_a_treemap_of_layers(browser, site):
    start(browser, site, "?packages=git+zlib&shell=1")
    [plan] = site.get("/api/plan/shell/git/zlib").json["plans"]
    browser.click("#show-plan")
    browser.wait_for("return document.querySelector('#plan-body .treemap')", "the plan")
    tiles = browser.run("return [...document.querySelectorAll('.treemap rect')].map((r) => r.getAttribute('width') * r.getAttribute('height'))")
    sizes = sorted((layer["bytes"] for layer in plan["layers"]), reverse=True)
    assert len(tiles) == len(sizes) > 5
    for tile, size in zip(tiles, sizes):
        assert tile / sum(tiles) == pytest.approx(size / sum(sizes), abs=0.005)
    assert "git-2.44.0" in browser.run("return document.querySelector('.treemap').textContent")
    browser.click("#plan-body details:last-of-type > summary")
    bars = browser.run("return [...document.querySelectorAll('.bars > li > svg rect')].map((r) => Number(r.getAttribute('width')))")
    assert len(bars) == len(sizes) and max(bars) == 100
    assert "openssl-3.0.15" in browser.text(".bars")
    check_looks(browser, "plan")


def test_a_plan_of_an_unbuilt_image_lists_missing_paths(browser, site):
    start(browser, site, "?packages=gated")
    browser.click("#show-plan")
    browser.wait_for("return document.getElementById('plan-body').textContent.includes('to build')", "the plan")
    assert "1\nto build" in browser.text("#plan-body")
    check_looks(browser, "plan-unbuilt")


def test_a_build_is_followed_to_its_end_and_the_image_has_a_page(browser, site):
    start(browser, site, "?packages=gated+git")
    browser.click("#start-build")
    browser.wait_for("return document.getElementById('log').textContent.includes('waiting for the gate')", "the log's first line")
    browser.wait_for("return document.querySelector('#phases [aria-current=step]')?.textContent === 'Building with Nix'", "the phase")
    browser.wait_for("return document.getElementById('build-text').textContent.includes('building gated')", "the step")
    assert "through the gate" not in browser.text("#log")
    check_looks(browser, "build")
    site.open_gate()
    browser.wait_for("return document.getElementById('build-text').textContent.startsWith('Built')", "the end of the build")
    assert browser.run("return document.querySelectorAll('#phases .done').length") == 5
    assert browser.run("return document.getElementById('start-build').disabled") is False
    browser.wait_for("return document.getElementById('images').textContent.includes('gated/git')", "it in the list")
    check_looks(browser, "built")

    browser.click("#build-text a")
    browser.wait_for("return document.querySelector('.treemap')", "the image's page")
    assert browser.text("h1") == "gated/git"
    report = site.get("/api/image/gated/git").json
    assert browser.text(".digest") == report["digest"]
    rows = browser.texts("tbody tr")
    assert rows[0].startswith("gated") and "GPL-2.0-only" in rows[1] and "2.44.0" in rows[1]
    links = browser.run("return [...document.querySelectorAll('section a')].map((a) => a.getAttribute('href'))")
    for each in report["images"][0]["referrers"]:
        assert each["document"] in links and site.get(each["document"]).status == 200
    check_looks(browser, "image")


def test_a_failed_build_shows_the_reason(shared_browser, site):
    shared_browser.look("light", 1200)
    start(shared_browser, site, "?packages=failing")
    shared_browser.console()
    shared_browser.click("#start-build")
    shared_browser.wait_for("return !document.getElementById('problem').hidden", "the reason")
    assert "the build failed" in shared_browser.text("#problem")
    assert shared_browser.run("return document.querySelectorAll('main i').length") == 0
    check_looks(shared_browser, "failed")
    # The failed pull is a network error to the browser, and the only one.
    assert all("/v2/failing/manifests/latest" in line["message"] for line in shared_browser.console())


def test_one_build_is_shown_at_a_time(shared_browser):
    with web_site() as site:
        browser = shared_browser
        browser.look("light", 1200)
        browser.open(f"{site.url}/?packages=gated")
        browser.click("#start-build")
        browser.wait_for("return document.getElementById('log').textContent.includes('waiting for the gate')", "the log's first line")
        # Another one by Enter, which does not depend on the button.
        browser.type("#packages", "jq", "enter", "enter")
        browser.wait_for("return !document.getElementById('problem').hidden", "the message about the running build")
        assert "Another build is running" in browser.text("#problem")
        assert "waiting for the gate" in browser.text("#log")
        site.open_gate()
        browser.wait_for("return document.getElementById('build-text').textContent.startsWith('Built')", "the end of the build")
        assert "name=gated" in browser.run("return document.querySelector('#build-text a').getAttribute('href')")
        assert "/v2/gated/jq/" not in (site.dir / "access.log").read_text()
        browser.type("#packages", "enter")
        browser.wait_for("return document.querySelector('#build-text a')?.getAttribute('href').includes(encodeURIComponent('gated/jq'))", "the end of the other")
        assert shared_browser.console() == []


def test_without_events_a_build_is_pulled_until_it_ends(shared_browser):
    with web_site(NIXERY_HOP_SECONDS="1", NIXERY_HOPS="0") as site, ExitStack() as followers:
        for _ in range(8):  # the limit of a client
            follower = followers.enter_context(socket.create_connection(("127.0.0.1", site.port)))
            follower.sendall(b"GET /api/events/curl HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200 OK" in follower.recv(1000)
        shared_browser.look("light", 1200)
        shared_browser.open(f"{site.url}/?packages=gated")
        shared_browser.click("#start-build")
        shared_browser.wait_for("return document.getElementById('build-text').textContent.includes('still being built')", "word that it takes longer")
        assert shared_browser.run("return document.getElementById('start-build').disabled")
        site.open_gate()
        shared_browser.wait_for("return document.getElementById('build-text').textContent.startsWith('Built')", "the end of the build")
        assert not shared_browser.run("return document.getElementById('start-build').disabled")
        # The 429 is a network error to the browser.
        assert all(" 429 " in line["message"] for line in shared_browser.console())


def test_the_page_of_an_unbuilt_image_says_so(shared_browser, site):
    shared_browser.open(f"{site.url}/web/image.html?name=nano")
    shared_browser.wait_for("return !document.getElementById('problem').hidden", "the reason")
    assert "not built yet" in shared_browser.text("#problem")
    shared_browser.open(f"{site.url}/web/image.html?name=%3Cimg%20src%3Dx%3E/../..")
    shared_browser.wait_for("return !document.getElementById('problem').hidden", "the reason")
    assert shared_browser.run("return document.querySelectorAll('main img').length") == 0
    shared_browser.console()


def test_without_javascript_the_form_leads_to_the_commands(site):
    with chromium(javascript=False) as browser:
        browser.look("light", 1200)
        browser.open(f"{site.url}/")
        assert browser.text("h1").startswith("Name the packages") and not browser.is_shown("#result")
        browser.type("#packages", "git curl")
        browser.click("noscript button")
        browser.wait_for("return document.querySelector('h1')?.textContent === 'Your image'", "the commands")
        assert browser.texts("pre.command")[0] == f"docker run --rm -it {site.host}/shell/git/curl bash"
        if PICTURES:
            browser.screenshot(Path(PICTURES) / "compose.png")
        browser.open(f"{site.url}/web/compose?packages=Not%20a%3Cname%3E")
        assert "is not a valid part" in browser.text(".wrong")
