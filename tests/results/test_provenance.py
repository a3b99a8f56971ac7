import subprocess
import sys
from datetime import UTC, datetime

import numpy as np

from subriem.results import provenance
from subriem.results.provenance import summarize_arguments


def test_the_keys_that_other_tools_read_are_there():
    before = datetime.now(UTC)
    attributes = provenance("flow", {"kind": "adapted"}, structure="a network", seed=np.int64(3))
    created = datetime.fromisoformat(attributes["created_at"])
    assert before <= created <= datetime.now(UTC)
    assert attributes["creation_library"] == "subriem"
    assert attributes["creation_library_language"] == "Python"
    assert attributes["numpy_version"] == np.__version__
    assert attributes["structure"] == "a network"
    assert type(attributes["seed"]) is int


def test_no_library_is_imported_for_its_version():
    code = (
        "import sys; from subriem.results.provenance import provenance; a = provenance('f');"
        "print('torch' in sys.modules, 'torch_version' in a)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_large_arguments_are_summarized():
    summary = summarize_arguments(
        {
            "array": np.zeros((3, 2), np.float32),
            "many": list(range(100)),
            "text": "x" * 1000,
            "function": len,
            "nested": {"number": np.float64(0.5), "none": None},
            "pair": (1, 2),
        }
    )
    assert summary["array"] == "ndarray float32 (3, 2)"
    assert summary["many"] == "list of 100"
    assert len(summary["text"]) == 200
    assert summary["function"] == "builtins.len"
    assert summary["nested"] == {"number": 0.5, "none": None}
    assert summary["pair"] == [1, 2]
