"""Loading a search space needs nothing but the standard library."""

import subprocess
import sys
from pathlib import Path

import hpopt_search_spaces

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
before = {name.partition(".")[0] for name in sys.modules}
import hpopt_search_spaces
for name, _ in hpopt_search_spaces.available_spaces():
    hpopt_search_spaces.load_space(name)
after = {name.partition(".")[0] for name in sys.modules}
print(*sorted(after - before - sys.stdlib_module_names))
"""


def test_nothing_but_the_standard_library_is_imported():
    root = Path(hpopt_search_spaces.__file__).parents[1]
    command = [sys.executable, "-c", SCRIPT, str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["hpopt_search_spaces"]
