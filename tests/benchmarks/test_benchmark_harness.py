import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def harness(monkeypatch):
    """The benchmarks' own modules, which are scripts and no package."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    names = ("measure", "environment", "training_methods", "training", "gram", "growth_of_cost")
    yield {name: importlib.import_module(name) for name in (*names, "run")}
    for name in [*names, "run", "gram_methods"]:
        sys.modules.pop(name, None)


def test_child_tells_how_far_it_came(harness, tmp_path, monkeypatch):
    measure = harness["measure"]
    monkeypatch.setattr(measure, "GRACE", 0.0)
    slow = tmp_path / "slow.py"
    slow.write_text("import time\nprint('{\"reached\": 1}', flush=True)\ntime.sleep(60)\n")
    assert measure.run_child([slow], limit=3.0) == {"reached": 1, "late": 3.0}
    broken = tmp_path / "broken.py"
    broken.write_text("raise ValueError('no such thing')\n")
    assert measure.run_child([broken], limit=10.0) == {"failed": "ValueError: no such thing"}


def test_child_has_one_thread_on_one_core(harness, tmp_path):
    script = tmp_path / "threads.py"
    script.write_text(
        "import json, os\nn = os.environ['OMP_NUM_THREADS'], len(os.sched_getaffinity(0))\n"
        "print(json.dumps({'n': n}))\n"
    )
    assert harness["measure"].run_child([script], limit=10.0) == {"n": ["1", 1]}


def test_memory_is_the_process_own(harness):
    before = harness["measure"].peak_memory()
    held = np.ones(1 << 25)  # 256 MiB
    assert 0 < held.nbytes / 2**20 <= harness["measure"].peak_memory() - before + 64
    assert before < 16_384


def test_peers_file(harness):
    read = harness["environment"].read_peers
    peers = {p.package: p for p in read((BENCHMARKS / "peers.txt").read_text(encoding="utf-8"))}
    training = {package for package, _, _ in harness["training_methods"].METHODS.values()}
    grams = {package for package, _ in importlib.import_module("gram_methods").METHODS.values()}
    assert (training | grams) - {"subriem", "torch"} <= set(peers)
    assert all(peer.arguments and peer.module for peer in peers.values())


def test_a_peer_that_does_not_install_is_recorded(harness, monkeypatch):
    environment = harness["environment"]
    monkeypatch.setattr(environment, "interpreter", lambda name: Path(sys.executable))
    monkeypatch.setattr(environment, "pip", lambda *_: "")
    (absent,) = environment.read_peers("no-such-peer | main | no_such_peer | no-such-peer")
    assert "No module named 'no_such_peer'" in environment.install(absent).failed
    monkeypatch.setattr(environment, "pip", lambda *_: "ERROR: none")
    (refused,) = environment.read_peers("numpy | main | numpy | numpy")
    assert environment.install(refused).failed == "ERROR: none"


def test_numpy_jacobian_by_differences(harness):
    methods = harness["training_methods"]
    generator = np.random.default_rng(0)
    shapes = [(4, 3), (4,), (2, 4), (2,)]
    weights = [generator.normal(size=shape) for shape in shapes]
    inputs = generator.normal(size=(5, 3))
    flat = np.concatenate([w.ravel() for w in weights])

    def outputs(at):
        parts = np.split(at, np.cumsum([w.size for w in weights])[:-1])
        shaped = [p.reshape(s) for p, s in zip(parts, shapes, strict=True)]
        return methods.forward(shaped, inputs)[-1].ravel()

    step = 1e-6 * np.eye(len(flat))
    numeric = np.stack([(outputs(flat + e) - outputs(flat - e)) / 2e-6 for e in step], axis=1)
    np.testing.assert_allclose(methods.jacobian(weights, inputs), numeric, atol=1e-8)


def test_recorder_checks_the_loss_for_itself(harness, tmp_path):
    methods = harness["training_methods"]
    path = tmp_path / "problem.npz"
    np.savez(
        path,
        inputs=np.ones((3, 1)),
        targets=np.zeros((3, 1)),
        name="line",
        arrays=2,
        w0=np.ones((1, 1)),
        w1=np.zeros(1),
    )
    problem = methods.Problem(str(path))
    recorder = methods.Recorder(problem, 60.0, 1e-12)
    # a method that claims 1e-5 at parameters whose loss is 1e-2 of the first
    recorder.note(1e-5, lambda: [np.full((1, 1), 0.1), np.zeros(1)])
    assert recorder.answer()["levels"]["0.0001"][2] == pytest.approx(1e-2)
    answer = {"version": "x 1", "cold": recorder.answer(), "memory": 1.0}
    figure = harness["training"].figures("line", "x", [answer], 1e9, 60.0)[0]
    assert figure.note.startswith("WRONG")
    with pytest.raises(methods.Over, match="reached"):
        recorder.note(1e-13, lambda: problem.weights)


def test_first_calls_are_not_compared_with_second_ones(harness):
    figure = harness["measure"].Figure
    ours = figure("s", "c", "ours", "q", cold_wall=[4.0], warm_wall=[1.0])
    assert figure("s", "c", "x", "q", cold_wall=[2.0]).ratio(ours) == 0.5
    assert figure("s", "c", "x", "q", cold_wall=[2.0], warm_wall=[3.0]).ratio(ours) == 3.0
    assert np.isnan(figure("s", "c", "x", "q").ratio(ours))


def test_exponent_of_a_power(harness):
    sizes = [1, 2, 4, 8]
    slope, error = harness["growth_of_cost"].fit(sizes, [3.0 * n**1.5 for n in sizes])
    assert slope == pytest.approx(1.5)
    assert error < 1e-12


@pytest.mark.slow
def test_tiny_run_of_the_whole_harness(harness, tmp_path, monkeypatch):
    import subriem as sr

    training, run = harness["training"], harness["run"]
    monkeypatch.setattr(training, "CASES", {"digits 12": ([64, 32, 10], 12)})
    monkeypatch.setattr(run, "TRAININGS", training.CASES)
    monkeypatch.setattr(run, "QUICK", {"MLP, N = 5": ("mlp", 5)})
    # the children read the case from the file, so the problem is made here
    made = training.make_problem

    def run_child(words, **options):
        if words[:2] == ["training.py", "--problem"]:
            made(words[2], int(words[3]), words[4])
            return {}
        return harness["measure"].run_child(words, **options)

    monkeypatch.setattr(training, "run_child", run_child)
    methods = "subriem train|SciPy least_squares|subriem gram"
    methods += "|torch.func Jacobian, product"
    words = ["run.py", "--quick", "--only", "training,gram", "--methods", methods]
    monkeypatch.setattr(sys, "argv", [*words, "--limit", "90", "--out", str(tmp_path)])
    run.main()
    found = sr.open_results(tmp_path / "results.nc")
    assert set(found.method.values) == set(methods.split("|"))
    reached = found.sel(figure=(found.section == "training") & (found.quantity == "1e-08"))
    ours = reached.sel(figure=reached.method == "subriem train")
    assert float(ours["error"].item()) <= 1.001e-8
    assert float(ours["ratio"].item()) == 1.0
    assert (found["memory"] > 10).all()
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert "## Training to machine zero" in text
    assert "torch.func Jacobian, product" in text
    # a second run of one section keeps the other
    monkeypatch.setattr(sys, "argv", [*words[:2], "--only", "gram", "--out", str(tmp_path)])
    monkeypatch.setattr(run, "gram", lambda **_: [])
    run.main()
    assert "subriem train" in (tmp_path / "results.md").read_text(encoding="utf-8")
