"""Reads a page of metrics as Prometheus does, in the format that is named, and prints each sample: name, labels, value."""
import json
import sys

from prometheus_client import openmetrics, parser
import prometheus_client.openmetrics.parser

text = sys.stdin.read()
read = {"open": openmetrics.parser.text_string_to_metric_families, "plain": parser.text_string_to_metric_families}[sys.argv[1]]
json.dump([[sample.name, sample.labels, sample.value] for family in read(text) for sample in family.samples], sys.stdout)
