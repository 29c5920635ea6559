"""Make data, ask, judge and score models: the steps between a domain's triples and numbers one may believe."""

from pipeline.poles import Poles, capture_poles
from pipeline.propensity import Propensity, propensity
from pipeline.records import Triple, read_jsonl, write_jsonl
from pipeline.runs import RunFolder
from pipeline.triples import corpus_domains, corpus_hash, load_corpus, read_corpus, split

__all__ = [
    "Poles",
    "Propensity",
    "RunFolder",
    "Triple",
    "capture_poles",
    "corpus_domains",
    "corpus_hash",
    "load_corpus",
    "propensity",
    "read_corpus",
    "read_jsonl",
    "split",
    "write_jsonl",
]
