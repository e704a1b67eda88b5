# SPDX-License-Identifier: Apache-2.0
"""page_test.py PROGRAM [--screenshots FOLDER]: the chat page in Chromium: types, streams, stops, edits, comes back."""

import os
import shutil
import sys
import unittest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
try:
    from playwright.sync_api import sync_playwright
except ImportError:
    print("skipped: the playwright package is not here; tests/server/make_venv.sh installs it")
    sys.exit(77)
if CHROMIUM is None:
    print("skipped: there is no Chromium; apt-get install chromium")
    sys.exit(77)

from harness import PATIENCE, Server, backwards, program

PROGRAM = program()
SCREENSHOTS = None
if "--screenshots" in sys.argv:
    at = sys.argv.index("--screenshots")
    SCREENSHOTS = sys.argv[at + 1]
    del sys.argv[at:at + 2]
    os.makedirs(SCREENSHOTS, exist_ok=True)

MARKDOWN = "Here is **bold** and `code`:\n\n```python\nprint('hi')\n```\n\n1. one\n2. two\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n<script>window.bad = 1</script> [x](javascript:window.bad=1)"


class PageTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(PROGRAM, "--model", "other=step_us=100", model="step_us=30000")
        cls.playwright = sync_playwright().start()
        cls.browser = cls.playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        cls.url = f"http://127.0.0.1:{cls.server.port}/"

    @classmethod
    def tearDownClass(cls):
        cls.browser.close()
        cls.playwright.stop()
        cls.server.__exit__()

    def open(self, **context):
        page = self.browser.new_context(**context).new_page()
        page.set_default_timeout(PATIENCE * 1000)
        self.problems = []
        page.on("console", lambda message: self.problems.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", lambda request: None if request.url.startswith((self.url, "data:")) else self.problems.append(request.url))
        page.goto(self.url)
        page.wait_for_function("() => document.querySelector('#model').options.length === 2")
        return page

    def say(self, page, text):
        page.fill("#input", text)
        page.press("#input", "Enter")

    def wait_done(self, page):
        page.wait_for_function("() => document.querySelector('#stop').hidden && document.querySelector('.assistant .stats')?.textContent")

    def shot(self, page, name):
        if SCREENSHOTS:
            page.screenshot(path=f"{SCREENSHOTS}/{name}.png")

    def tearDown(self):
        self.assertEqual(self.problems, [])

    def test_a_conversation(self):
        page = self.open(color_scheme="light", viewport={"width": 1280, "height": 800})
        self.shot(page, "light-empty")
        page.select_option("#model", "other")
        self.say(page, "hello there")
        self.wait_done(page)
        self.assertEqual(page.inner_text(".assistant .body").strip(), backwards("hello there", 64).strip())
        stats = page.inner_text(".assistant .stats")
        self.assertIn("64 tokens", stats)
        self.assertIn("tok/s", stats)
        self.assertIn("first token after", stats)
        self.shot(page, "light")
        # It is still there after a reload, and its second turn follows the first.
        page.reload()
        page.click("#conversations .open")
        self.assertIn("hello there", page.inner_text(".user .body"))
        page.wait_for_function("() => document.querySelector('#model').options.length === 2")
        self.say(page, "second")
        page.wait_for_function("() => document.querySelectorAll('.assistant .stats').length === 2 && document.querySelector('#stop').hidden")
        self.assertEqual(page.locator(".message").count(), 4)

    def test_stop_regenerate_edit(self):
        page = self.open()
        self.say(page, "a slow question")
        page.wait_for_function("() => document.querySelector('.assistant .body').textContent.length > 3")
        self.assertTrue(page.is_visible("#stop"))
        page.click("#stop")
        self.wait_done(page)
        self.assertIn("stopped", page.inner_text(".assistant .stats"))
        self.server.wait_until(lambda: self.server.metric("lanner_requests_running", '{model="tiny"}') == 0, "an idle model")
        page.select_option("#model", "other")
        page.click(".assistant .tools >> text=Regenerate")
        page.wait_for_function("() => document.querySelector('.assistant .stats').textContent.includes('64 tokens')")
        page.click(".user .tools >> text=Edit")
        page.fill(".edit", "edited")
        page.press(".edit", "Enter")
        page.wait_for_function("() => document.querySelector('.user .body')?.textContent === 'edited' && document.querySelector('.assistant .stats').textContent.includes('64 tokens')")
        self.assertTrue(page.inner_text(".assistant .body").startswith("detide"))

    def test_settings_reach_the_server(self):
        page = self.open()
        page.select_option("#model", "other")
        page.click("#open-settings")
        page.fill("#max_tokens", "5")
        page.fill("#system", "Be brief")
        page.fill("#temperature", "200")
        self.shot(page, "settings")
        self.say(page, "hello")
        page.wait_for_selector(".error")
        self.assertIn("temperature", page.inner_text(".error"))
        self.problems.clear()  # the browser reports the 400
        page.fill("#temperature", "")
        page.press("#temperature", "Tab")
        page.click(".assistant .tools >> text=Regenerate")
        page.wait_for_function("() => document.querySelector('.assistant .stats').textContent.includes('5 tokens')")
        self.assertEqual(page.inner_text(".assistant .body").strip(), "olleh")

    def test_markdown_is_drawn_and_harmless(self):
        page = self.open(color_scheme="dark", viewport={"width": 1280, "height": 800})
        page.evaluate("""(text) => { current.messages.push({role: "user", content: "Show me"}, {role: "assistant", content: text}); draw(); }""", MARKDOWN)
        for selector in ("strong", ".body code", ".code pre", "ol li", "table td"):
            self.assertGreater(page.locator(".assistant " + selector).count(), 0, selector)
        self.assertIsNone(page.evaluate("window.bad ?? null"))
        self.assertEqual(page.locator(".assistant script, .assistant a").count(), 0)
        self.assertIn("<script>", page.inner_text(".assistant .body"))
        self.shot(page, "dark")

    def test_narrow_and_keyboard(self):
        page = self.open(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
        page.select_option("#model", "other")
        self.say(page, "on a phone")
        self.wait_done(page)
        self.assertLessEqual(page.evaluate("document.documentElement.scrollWidth"), 390)
        self.assertFalse(page.is_visible("#new"))
        self.shot(page, "mobile")
        page.click("#open-side")
        self.assertTrue(page.is_visible("#new"))
        self.shot(page, "mobile-side")
        page.keyboard.press("Escape")
        page.wait_for_selector("#new", state="hidden")

    def test_names_for_screen_readers(self):
        page = self.open()
        unnamed = page.evaluate("""[...document.querySelectorAll("button, input, select, textarea")]
            .filter((e) => !(e.textContent.trim() || e.getAttribute("aria-label") || e.labels?.length)).map((e) => e.outerHTML)""")
        self.assertEqual(unnamed, [])
        self.assertEqual(page.get_attribute("#log", "role"), "log")
        page.keyboard.press("Tab")
        page.keyboard.press("Shift+Tab")
        self.assertIsNotNone(page.evaluate("document.activeElement.id || document.activeElement.className"))


if __name__ == "__main__":
    unittest.main()
