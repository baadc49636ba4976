"""JupyterLab in a real browser: the quickstart runs, its slider and its prompt box change their images.

    make browser

Uses the system's Chromium (Debian: apt install chromium), or else Playwright's (`playwright install chromium`).
Writes a screenshot: outputs/browser/quickstart.png.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = "00_quickstart.ipynb"
KEPT = ROOT / "outputs" / "browser"
SETTINGS = {  # the defaults leave cells outside the window out of the page, and show news
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
MINUTES = 60_000   # milliseconds


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a JupyterLab that serves a copy of the notebook, without the user's settings."""
    folder = tmp_path_factory.mktemp("lab")
    work, settings = folder / "work", folder / "settings"
    work.mkdir()
    shutil.copy(ROOT / "notebooks" / NOTEBOOK, work)
    for name, values in SETTINGS.items():
        path = settings / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "JUPYTERLAB_SETTINGS_DIR": str(settings), "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"), "MINIGROUPVIT_BUDGET": "tiny", "PYTHONPATH": str(ROOT)}
    with open(folder / "log.txt", "wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
             "--ServerApp.port_retries=0", "--IdentityProvider.token=", f"--ServerApp.root_dir={work}"],
            env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{address}/api", server, folder / "log.txt")
        yield address
    finally:
        server.terminate()
        server.wait(timeout=30)


def _wait_for(address: str, server: subprocess.Popen, log: Path, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=2)
            return
        except OSError:
            time.sleep(0.3)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def page(lab: str) -> Iterator[Page]:
    """The page of the notebook, after all cells have run."""
    with sync_playwright() as playwright:
        # Chromium's sandbox does not work for root, as in a container.
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.goto(f"{lab}/lab/tree/{NOTEBOOK}", timeout=2 * MINUTES)
        notebook = page.locator(".jp-NotebookPanel:not(.p-mod-hidden) .jp-Notebook")
        notebook.wait_for(timeout=2 * MINUTES)
        # The status bar shows when the kernel is ready; the notebook's own indicator says "idle" without a kernel too.
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=2 * MINUTES)
        run_all(page)
        last = page.locator(".jp-CodeCell .jp-InputPrompt").last
        expect(last).to_have_text(f"[{page.locator('.jp-CodeCell').count()}]:", timeout=5 * MINUTES)
        yield page
        KEPT.mkdir(parents=True, exist_ok=True)
        panel_of(page, "ClassPromptBox(").scroll_into_view_if_needed()
        page.screenshot(path=KEPT / "quickstart.png")
        browser.close()


def run_all(page: Page) -> None:
    """Runs all cells. Tries again if nothing happens: a kernel that has just started may lose the request."""
    first = page.locator(".jp-CodeCell .jp-InputPrompt").first
    for _ in range(3):
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        try:
            expect(first).to_have_text("[1]:", timeout=MINUTES)
            return
        except AssertionError:
            continue
    raise AssertionError(f"the first cell did not run: its prompt is {first.inner_text()!r}")


def panel_of(page: Page, code: str) -> Locator:
    """The output of the cell whose code contains this text."""
    return page.locator(".jp-CodeCell").filter(
        has=page.locator(".jp-Cell-inputWrapper", has_text=code)).locator(".jp-Cell-outputWrapper")


def image_of(panel: Locator) -> Locator:
    return panel.locator("img.widget-image").last


def changes(image: Locator, before: str) -> None:
    expect(image).not_to_have_attribute("src", before, timeout=MINUTES / 4)
    assert image.evaluate("image => image.naturalWidth") > 200


def test_no_cell_fails_or_warns(page: Page) -> None:
    assert page.locator(".jp-CodeCell").count() > 15
    for kind in ("application/vnd.jupyter.error", "application/vnd.jupyter.stderr"):
        assert page.locator(f'.jp-OutputArea-output[data-mime-type="{kind}"]').all_text_contents() == []


def test_the_prompt_box_changes_its_image(page: Page) -> None:
    panel = panel_of(page, "ClassPromptBox(")
    words, image = panel.locator("input[type=text]"), image_of(panel)
    before = image.get_attribute("src")
    words.fill("cup, cat, night")
    words.press("Enter")
    changes(image, before)


def test_a_word_that_was_in_no_caption_is_reported(page: Page) -> None:
    panel = panel_of(page, "ClassPromptBox(")
    words = panel.locator("input[type=text]")
    words.fill("cup, zebra")
    words.press("Enter")
    expect(panel).to_contain_text("zebra", timeout=MINUTES / 4)


def test_a_slider_changes_its_image(page: Page) -> None:
    panel = panel_of(page, "SceneDrawer(")
    before = image_of(panel).get_attribute("src")
    handle = panel.locator(".noUi-handle").first
    handle.scroll_into_view_if_needed()
    handle.focus()
    handle.press("ArrowRight")
    changes(image_of(panel), before)


def test_a_click_on_a_patch_moves_the_sliders(page: Page) -> None:
    panel = panel_of(page, "GroupExplorer(")
    row, column = (panel.locator(".widget-readout").nth(n) for n in range(2))
    canvas = panel.locator("canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    canvas.click(position={"x": box["width"] * 0.015, "y": box["height"] * 0.95})
    expect(column).to_have_text("0", timeout=MINUTES / 4)
    assert int(row.inner_text()) > 12


def test_still_no_cell_fails_or_warns(page: Page) -> None:
    test_no_cell_fails_or_warns(page)
