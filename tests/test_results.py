"""Results of full runs: stored with the day and the machine, and read again as they were."""

import json
from types import SimpleNamespace

import torch

import checkpoints
from checkpoints import about_run, processor_name, store_results, stored_results
from training import Epoch


def test_results_come_back_as_they_were_with_day_and_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "ROOT", tmp_path)
    found = {"runs": {"a": [Epoch(1.0, 0.5, 0.25, 0.875)]}, "test": [0.1, 0.2]}
    store_results("06", found)
    stored = stored_results("06")
    assert Epoch(*stored["runs"]["a"][0]) == found["runs"]["a"][0] and stored["test"] == [0.1, 0.2]
    assert stored["threads"] == torch.get_num_threads() and stored["processor"]
    assert stored["date"] in about_run(stored) and stored["pytorch"] in about_run(stored)
    store_results("06", stored | {"test": [], "date": "long ago"})
    assert stored_results("06")["test"] == [] and stored_results("06")["date"] == stored["date"]
    text = (tmp_path / "results" / "06.json").read_text()
    assert json.loads(text) and len(text.splitlines()) == 2 + len(stored)


def test_every_stored_result_names_its_machine():
    paths = sorted((checkpoints.ROOT / "results").glob("*.json"))
    for path in paths:
        if path.stem != "09_rules":  # of a reader that is gone
            stored = stored_results(path.stem)
            assert all(stored[key] for key in ("date", "processor", "threads", "pytorch")), path
    assert len(paths) > 5


def test_results_name_the_processor_of_the_device_that_found_them(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "ROOT", tmp_path)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"a GPU, {device}")
    store_results("10", {})
    assert "GPU" not in stored_results("10")["processor"]
    store_results("10", {}, "cuda:1")
    assert stored_results("10")["processor"] == "a GPU, cuda:1"


def test_a_gpu_that_is_no_nvidias_has_not_the_name_of_the_processor(monkeypatch):
    cpu = processor_name(torch.device("cpu"))
    assert processor_name(torch.device("mps")) == f"mps device of {cpu}"
    arc = SimpleNamespace(get_device_name=lambda device: f"Arc, {device}")
    monkeypatch.setattr(torch, "get_device_module", lambda device: arc)
    assert processor_name(torch.device("xpu:0")) == "Arc, xpu:0"
