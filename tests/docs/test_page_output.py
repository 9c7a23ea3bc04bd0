"""Output of a page's blocks that take minutes is stored, and shown only for the code that printed it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from tests.docs.blocks import ROOT

PAGE = """
```python
number = 6
```

<!-- not run: it takes minutes -->
```python
number = 1
```

```python
print(number * 7)
```
"""


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The tool, for a project in ``tmp_path``."""
    spec = importlib.util.spec_from_file_location("page_output", ROOT / "tools" / "page_output.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    (tmp_path / "page.md").write_text(PAGE)
    return module


def test_stored_output_is_shown_for_its_code_alone(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was kept is printed again without running; after a change of a block the command that renews it is named."""
    file = tmp_path / "kept.json"
    tool.main([str(tmp_path / "page.md"), "3", "--keep", str(file)])
    assert capsys.readouterr().out == "```text\n42\n```\n"
    data = json.loads(file.read_text())
    assert data["commit"]
    assert data["code"] == ["number = 6\n", "print(number * 7)\n"]
    file.write_text(json.dumps({**data, "output": ["43"]}))
    tool.main(["--show", str(file)])
    assert capsys.readouterr().out == "```text\n43\n```\n"
    (tmp_path / "page.md").write_text(PAGE.replace("6", "5"))
    with pytest.raises(SystemExit, match=r"run python tools/page_output.py page.md 3 --keep .*kept.json"):
        tool.main(["--show", str(file)])


def test_a_marked_block_runs_only_where_it_is_asked_for(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Together, the outputs of a page come from one run of it, with the marked block if its own output is wanted."""
    tool.main([str(tmp_path / "page.md"), "1", "3", "--each"])
    assert json.loads(capsys.readouterr().out) == {"1": "```text\n```", "3": "```text\n42\n```"}
    tool.main([str(tmp_path / "page.md"), "2", "3", "--each"])
    assert json.loads(capsys.readouterr().out)["3"] == "```text\n7\n```"


def test_a_failing_block_is_named(tool: ModuleType, tmp_path: Path) -> None:
    """One run of a page also fails for a block without a figure, after the last one with one."""
    (tmp_path / "page.md").write_text(PAGE + "\n```python\nprint(none)\n```\n")
    tool.main([str(tmp_path / "page.md"), "3"])
    with pytest.raises(NameError) as caught:
        tool.main([str(tmp_path / "page.md"), "3", "--each"])
    assert str(caught.traceback[-1].path).endswith("page.md, Python block 4")


def test_a_block_that_a_page_lacks_is_refused(tool: ModuleType, tmp_path: Path) -> None:
    """The number of blocks is named."""
    with pytest.raises(SystemExit, match="has 3 Python blocks, and no block 4"):
        tool.main([str(tmp_path / "page.md"), "4"])
