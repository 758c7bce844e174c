"""Headless chromium, and what a page in it asks for and complains of."""

import shutil

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="no playwright")


CHROMIUM = shutil.which("chromium")


FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


WAIT = 60_000  # milliseconds: the machine may be busy


def watched(chromium):
    page = chromium.new_page(viewport={"width": 1500, "height": 1000})
    page.set_default_timeout(WAIT)
    asked, complaints = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
    return page, asked, complaints
