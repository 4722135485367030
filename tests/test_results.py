"""Results of full runs: stored with the day and the machine, and read again as they were."""

import re
from types import SimpleNamespace

import nbformat
import pytest
import torch
from suite import find_notebooks

import checkpoints
from checkpoints import ROOT, Results, processor_name, read_entries
from training import Epoch


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The results that a full run of notebook 06 has, or a plain one."""
    monkeypatch.setattr(checkpoints, "ROOT", tmp_path)
    monkeypatch.setattr(checkpoints, "CHECKPOINT_DIR", tmp_path / "made")

    def run(full, device="cpu"):
        monkeypatch.setattr(checkpoints, "FULL", full)
        return Results("06", device)

    return run


def put_in_place(folder):
    """As `make model` does after a full run."""
    (folder / "results").mkdir(exist_ok=True)
    (folder / "made" / "06.json").rename(folder / "results" / "06.json")


def never():
    raise AssertionError("this has been found already")


def test_a_plain_run_recalls_what_a_full_run_has_found_with_day_and_machine(run, tmp_path):
    found = run(full=True).recall(
        "runs", lambda number, loss: [Epoch(number, 0.5, loss, 0.875)], 1, loss=0.25
    )
    assert found == [[1, 0.5, 0.25, 0.875]]  # as JSON keeps it, in either run
    put_in_place(tmp_path)
    stored = run(full=False)
    assert stored.recall("runs", never) == stored.recall("runs") == found
    assert torch.__version__.split("+")[0] in stored.about() and stored.about().startswith("20")
    with pytest.raises(KeyError, match=r"results/06\.json has no 'others'"):
        stored.recall("others", never)


def test_a_full_run_that_was_stopped_goes_on_where_it_was(run, tmp_path):
    calls = []

    def find(name):
        calls.append(name)
        if calls == ["a", "b"]:
            raise KeyboardInterrupt
        return len(calls)

    first = run(full=True)
    assert first.recall("a", find, "a") == 1
    with pytest.raises(KeyboardInterrupt):
        first.recall("b", find, "b")
    second = run(full=True)
    assert second.recall("a", find, "a") == 1 and second.recall("b", find, "b") == 3
    assert calls == ["a", "b", "b"]
    put_in_place(tmp_path)
    third = run(full=True)  # another full run finds all anew, and reads what others have found
    assert third.recall("a", find, "a") == 4 and third.recall("a") == 1
    assert len((tmp_path / "made" / "06.json").read_text().splitlines()) == 2 + 1


def test_every_stored_result_names_its_machine():
    paths = sorted((ROOT / "results").glob("*.json"))
    for path in paths:
        if path.stem != "10_rules":  # of a reader that is gone
            for entry in read_entries(path).values():
                assert all(entry[key] for key in ("date", "processor", "threads", "pytorch")), path
    assert len(paths) > 5


def test_results_name_the_processor_of_the_device_that_found_them(run, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"a GPU, {device}")
    monkeypatch.setattr(torch, "get_device_module", lambda device: torch.cuda)
    run(full=True).recall("on the CPU", lambda: 1)
    run(full=True, device="cuda:1").recall("on the GPU", lambda: 2)
    put_in_place(tmp_path)
    on_cpu, on_gpu = run(full=False).about().split("; ")
    assert "GPU" not in on_cpu and ", a GPU, cuda:1, " in on_gpu


@pytest.mark.parametrize("path", find_notebooks(), ids=lambda path: path.stem)
def test_at_most_one_cell_of_a_notebook_asks_whether_the_run_is_full(path):
    cells = nbformat.read(path, as_version=4).cells
    asking = [c.id for c in cells if c.cell_type == "code" and re.search(r"\bFULL\b", c.source)]
    assert len(asking) <= 1


def test_a_gpu_that_is_no_nvidias_has_not_the_name_of_the_processor(monkeypatch):
    cpu = processor_name(torch.device("cpu"))
    assert processor_name(torch.device("mps")) == f"mps device of {cpu}"
    arc = SimpleNamespace(get_device_name=lambda device: f"Arc, {device}")
    monkeypatch.setattr(torch, "get_device_module", lambda device: arc)
    assert processor_name(torch.device("xpu:0")) == "Arc, xpu:0"
