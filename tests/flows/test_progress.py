"""The progress bar: quiet unless asked or watched."""

from __future__ import annotations

import sys

import pytest
from flow_cases import formula_map

import subriem as sr
from subriem.flows.progress import watch_flow


def run(progress: bool | None) -> None:
    outputs = formula_map([1.0, 2.0], lambda theta: theta, 2)
    sr.flow(outputs, sr.SquaredLoss([0.0, 0.0]), progress=progress)


@pytest.mark.parametrize("progress", [None, False])
def test_nothing_is_printed_where_nobody_watches(
    progress: bool | None, capfd: pytest.CaptureFixture[str]
) -> None:
    run(progress)
    assert capfd.readouterr() == ("", "")


def test_the_bar_goes_to_standard_error(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes the pipe for a terminal
    run(True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "adapted flow" in err


def test_by_default_the_terminal_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []
    monkeypatch.setattr(sys.stderr, "isatty", lambda: shown.append(True) or False, raising=False)
    with watch_flow("label", None) as update:
        update(0.5, "text")
    assert shown
