"""Reads every YAML file below a folder, and prints what is in them as one JSON object: the path, and its documents."""
import json
import pathlib
import sys

import yaml

root = pathlib.Path(sys.argv[1])
files = sorted([*root.rglob("*.yaml"), *root.rglob("*.yml")])
json.dump({str(file.relative_to(root)): list(yaml.safe_load_all(file.read_text())) for file in files}, sys.stdout)
