"""The report in a browser, as axe-core sees it: on a telephone and on a desk, light and dark."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from edgemm_converter.report import report_page
from tests.unit.converter.report.pages import facts

PHONE, DESK = "390,844", "1280,900"
ASK = """
<script>AXE</script>
<script>
for (const found of document.querySelectorAll("details")) found.open = true;
axe.run({resultTypes: ["violations"]}).then(({violations}) => {
  const said = document.createElement("pre");
  said.id = "found";
  said.textContent = JSON.stringify({
    violations: violations.map(v => [v.id, v.nodes[0].html]),
    overflow: document.documentElement.scrollWidth - window.innerWidth,
  });
  document.body.append(said);
});
</script>
</body>
"""


@pytest.fixture(scope="session")
def axe() -> str:
    """Return the source of axe-core, which a package of Python brings with it."""
    from tests.clients.environments import environment

    python = environment("axe")
    show = "import axe_core_python, pathlib; print(pathlib.Path(axe_core_python.__file__).parent / 'axe.min.js')"
    found = subprocess.run([str(python), "-c", show], capture_output=True, text=True, check=True).stdout.strip()
    return Path(found).read_text()


@pytest.mark.slow
@pytest.mark.service
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_nothing_keeps_anybody_from_reading_the_report(
    size: str, dark: bool, axe: str, chromium: Path, tmp_path: Path
) -> None:
    page = report_page.page(facts()).replace("</body>", ASK.replace("AXE", axe.replace("</script", "<\\/script")))
    (tmp_path / "report.html").write_text(page)
    command = [
        str(chromium), "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000", "--dump-dom",
        f"--window-size={size}", f"--user-data-dir={tmp_path / 'profile'}",
        *(["--blink-settings=preferredColorScheme=0"] if dark else ["--blink-settings=preferredColorScheme=1"]),
        f"file://{tmp_path / 'report.html'}",
    ]  # fmt: skip
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    said = re.search(r'<pre id="found">(.*?)</pre>', shown)
    assert said is not None, "axe gave no answer"
    found = json.loads(said[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert found["violations"] == []
    assert found["overflow"] <= 0
