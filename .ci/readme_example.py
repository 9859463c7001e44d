"""Run the Python examples of README.md, one after another in one namespace."""

import re
from pathlib import Path

readme = Path(__file__).parents[1] / "README.md"
examples = re.findall(r"^```python\n(.*?)^```", readme.read_text(), re.S | re.M)
if not examples:
    raise SystemExit("README.md holds no Python example.")
namespace = {}
for example in examples:
    exec(compile(example, str(readme), "exec"), namespace)
